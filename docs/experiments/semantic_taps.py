"""Read segment pairs, run the semantic taps of an encoder, and compare them with FP32.

Shared by `outlier_channels.py` and `quantizers.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.config import load_config
from gasmcast.data.annotations import read_split
from gasmcast.export.checks.parity import compare
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

Feeds = dict[str, np.ndarray]
"""Inputs of one encoder run."""


def read_pairs(data: Path, split: Literal["train", "validation"], count: int) -> list[Feeds]:
    """Return one (previous, current) segment pair of each of `count` clips of a split."""
    spec = load_config("ssv2").spec
    paths = [sample.path for sample in read_split(data, split) if sample.path is not None]
    # Spread over the split, whose neighbors often share a source.
    paths = paths[:: max(1, len(paths) // count)][:count]

    pairs = []
    for number, path in enumerate(paths):
        clip = read_clip(path, spec, spec.centered_start(duration_s(path)))
        first = number % 8  # another segment of each clip
        pairs.append({"segments": np.stack([clip[first], clip[first + 1]])[None]})
    return pairs


def keep_semantic_taps(model: ModelProto) -> ModelProto:
    """Cut off every output of the encoder but the semantic taps, and return the graph."""
    del model.graph.output[1:]
    drop_unread(model.graph)
    return model


def run_semantic(engine: Any, feeds: list[Feeds]) -> np.ndarray:  # noqa: ANN401 - any engine
    """Return the semantic taps of all feeds, one after another along the first axis."""
    return np.concatenate([engine.run(feed)["semantic"] for feed in feeds])


def compare_taps(name: str, reference: np.ndarray, taps: np.ndarray) -> list[Any]:
    """Return the comparison of each semantic tap with FP32; taps are on the second axis."""
    return [
        compare("encoder", f"tap {i + 1}", name, reference[:, i], taps[:, i])
        for i in range(taps.shape[1])
    ]


def feed_reader(feeds: list[Feeds]) -> Any:  # noqa: ANN401 - a class of an optional package
    """Return ONNX Runtime's reader of calibration data over `feeds`."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: PLC0415 - optional

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hand out the feeds once."""

        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> Feeds | None:
            """Return the next feed, or None at the end."""
            return next(self.rest, None)

    return Reader()
