"""Making the other precisions of a bundle's graphs: calibrate encoder and head once, then write any of them from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.calibration.policy import Policy
from gasmcast.calibration.qdq import ALL_LEVELS, SAFE_LEVELS
from gasmcast.calibration.quantize import Calibrated, Recipe, collect_ranges
from gasmcast.errors import GateError, UsageError
from gasmcast.export.checks.heldout_clips import pair_chunks
from gasmcast.export.graphs.fp16 import measure_tops, to_fp16
from gasmcast.export.graphs.rules import RuleReport, check_rules, load_graph
from gasmcast.export.graphs.trace import compose_complete, remove_graph, save_graph
from gasmcast.precision import file_name
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec

__all__ = ["GRAPHS", "Prepared", "prepare", "write_precision"]

GRAPHS = ("encoder", "head")
HEAD_CLIPS = 8
"""So many clips, spread over the set, are seen whole; the head's ranges come from their features, on disk: 22 MB a clip at real size.
Of every other clip the encoder sees one segment, since ranges gain from clips more than from segments that resemble each other."""
FP16_SEGMENTS = 16
"""So many, spread over all clips, tell FP16 what is too large in the encoder: every tensor of a run is held at once, so one a run."""
Each = Progress


@dataclass(frozen=True)
class Prepared:
    """All that is known of a model's graphs before a precision is written."""

    spec: ClipSpec
    fp32: Mapping[str, Path]
    calibrated: Mapping[str, Calibrated]
    tops: Mapping[str, Mapping[str, float]]
    stored: CalibrationSet
    head_clips: int
    segments: int
    """Segments that the encoder's ranges were taken from."""

    def base(self, name: str) -> ModelProto:
        """The FP32 graph that precisions are written from: the smoothed one where INT8 was prepared, with fewer outliers for FP16 too."""
        return (
            self.calibrated[name].model if name in self.calibrated else load_graph(self.fp32[name])
        )

    def graph(self, name: str, precision: str, policy: Policy) -> ModelProto:
        """One component in one precision."""
        if precision == "fp16":
            return to_fp16(self.base(name), self.tops[name])
        if precision == "int8":  # the file that CPUs run
            return self.calibrated[name].quantize(policy, SAFE_LEVELS)
        return to_fp16(self.calibrated[name].quantize(policy, ALL_LEVELS), self.tops[name])


def prepare(
    fp32: Mapping[str, Path],
    stored: CalibrationSet,
    folder: Path,
    *,
    recipe: Recipe | None = None,
    policy: Policy | None = None,
    int8: bool = True,
    fp16: bool = True,
    each: Each | None = None,
    threads: int = 0,
) -> Prepared:
    """Calibrate encoder and head.

    One clip is decoded at a time; what stays in memory are histograms and sample rows, and on disk the features of at most `HEAD_CLIPS`
    clips. Those are seen whole, of every other clip one segment.

    Args:
        fp32: the FP32 files of `encoder` and `head`.
        stored: calibration clips.
        folder: for features.
        recipe: how ranges are taken.
        policy: what may become INT8.
        int8: prepare INT8.
        fp16: prepare FP16.
        each: called with what is done, and how much of how much.
        threads: of the processor; 0: all.

    Raises:
        UsageError: no clips, or activations that are not numbers.
    """
    spec = stored.index.spec
    say = each or silent
    seen = _Seen(stored)
    calibrated: dict[str, Calibrated] = {}
    features = _Features(folder, len(seen.whole), spec.segments)
    if int8:
        with seen.named():
            calibrated["encoder"] = collect_ranges(
                load_graph(fp32["encoder"]),
                seen.feeds,
                recipe,
                policy,
                progress=say,
                stage="encoder ranges",
                total=seen.runs,
                keep=lambda run, values: features.keep(values) if run >= seen.part_runs else None,
                threads=threads,
            )
    else:
        _fill(features, fp32["encoder"], seen, threads)
    if int8:
        calibrated["head"] = collect_ranges(
            load_graph(fp32["head"]),
            features.feeds,
            recipe,
            policy,
            progress=say,
            stage="head ranges",
            total=len(features),
            threads=threads,
        )
    tops: dict[str, Mapping[str, float]] = {}
    prepared = Prepared(spec, dict(fp32), calibrated, tops, stored, len(features), seen.segments)
    if fp16:
        say("FP16 ranges", 0, 2)
        tops["encoder"] = measure_tops(
            prepared.base("encoder"), seen.spread(FP16_SEGMENTS), threads
        )
        say("FP16 ranges", 1, 2)
        tops["head"] = measure_tops(prepared.base("head"), features.feeds(), threads)
        say("FP16 ranges", 2, 2)
    return prepared


def write_precision(
    prepared: Prepared,
    precision: str,
    folder: Path,
    policy: Policy | None = None,
    complete: bool = True,
) -> tuple[dict[str, Path], list[RuleReport]]:
    """Write encoder, head and complete graph of one precision and check them against TensorRT's rules.

    Raises:
        GateError: a graph breaks a rule; this is a defect of the converter, and the file is removed.
    """
    policy = policy or Policy()
    parts = {name: prepared.graph(name, precision, policy) for name in GRAPHS}
    paths = {
        name: save_graph(part, folder / file_name(name, precision)) for name, part in parts.items()
    }
    if complete:
        whole = compose_complete(parts["encoder"], parts["head"], prepared.spec)
        paths["complete"] = save_graph(whole, folder / file_name("complete", precision))
    reports = [check_rules(path) for path in paths.values()]
    broken = next((r for r in reports if not r), None)
    if broken is not None:
        for path in paths.values():
            remove_graph(path)
        raise GateError(f"{broken}.", "Leave this precision out, and report the model.")
    return paths, reports


class _Seen:
    """Which segments the encoder is calibrated on: parts of most clips first (the scan for outliers sees many), then some whole ones."""

    def __init__(self, stored: CalibrationSet) -> None:
        self.stored = stored
        spec, count = stored.index.spec, len(stored)
        self.whole = sorted(
            {int(i) for i in np.linspace(0, count - 1, min(count, HEAD_CLIPS)).round()}
        )
        self.parts = [i for i in range(count) if i not in set(self.whole)]
        # In turn an early and a late one: an action's beginning and its end.
        self.some = spec.segments // 4, spec.segments - 1 - spec.segments // 4
        self.part_runs = len(self.parts)
        self.runs = self.part_runs + len(self.whole) * sum(
            1 for _ in pair_chunks(np.empty(spec.clip_shape, np.uint8))
        )
        self.segments = self.part_runs + len(self.whole) * spec.segments
        self.at = ""

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        for i, clip in enumerate(self._clips(self.parts)):
            segment = self.some[i % 2]
            yield {"segments": clip[None, segment : segment + 2]}
        for clip in self.whole_clips():
            for pairs in pair_chunks(clip):
                yield {"segments": pairs}

    def spread(self, count: int) -> Iterator[dict[str, NDArray[Any]]]:
        """So many segments, one a run, evenly from the first segment of the first clip to the last one of the last."""
        segments = self.stored.index.spec.segments
        places = np.unique(
            np.linspace(0, len(self.stored) * segments - 1, count).round().astype(int)
        )
        which = np.unique(places // segments).tolist()
        for i, clip in zip(which, self._clips(which), strict=True):
            for segment in (places[places // segments == i] % segments).tolist():
                yield {"segments": clip[None, segment : segment + 2]}

    def whole_clips(self) -> Iterator[NDArray[np.uint8]]:
        """The clips that are seen whole."""
        return self._clips(self.whole)

    def _clips(self, which: list[int]) -> Iterator[NDArray[np.uint8]]:
        for i, clip in zip(which, self.stored.clips(which), strict=True):
            self.at = self.stored.index.clips[i].id
            yield clip

    @contextmanager
    def named(self) -> Iterator[None]:
        """Adds the clip that was seen last to what is said against it."""
        try:
            yield
        except UsageError as error:
            raise UsageError(
                f"{error.what} It was clip {self.at} of {self.stored.folder}.", error.hint
            ) from None


class _Features:
    """Encoded clips on disk: what the head is calibrated on."""

    def __init__(self, folder: Path, clips: int, segments: int) -> None:
        self.folder, self.clips, self.segments = folder, clips, segments
        self.maps: dict[str, NDArray[np.float32]] = {}
        self.filled = 0

    def __len__(self) -> int:
        return self.clips

    def keep(self, values: dict[str, NDArray[Any]]) -> None:
        rows = len(next(iter(values.values())))
        room = self.clips * self.segments - self.filled
        if room <= 0:
            return
        for name, value in values.items():
            if name not in self.maps:
                shape = (self.clips * self.segments, *value.shape[1:])
                self.maps[name] = np.memmap(
                    self.folder / f"features-{name}.f32", np.float32, "w+", shape=shape
                )
            self.maps[name][self.filled : self.filled + rows] = value[:room]
        self.filled += rows

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        for i in range(self.clips):
            rows = slice(i * self.segments, (i + 1) * self.segments)
            yield {name: np.asarray(values[rows])[None] for name, values in self.maps.items()}


def _fill(features: _Features, encoder: Path, seen: _Seen, threads: int) -> None:
    """The features of the clips that are seen whole, where nothing but them is asked of the FP32 encoder."""
    from gasmcast.export.checks.reference_engines import open_uncached  # noqa: PLC0415 - opens OpenVINO

    engine = open_uncached(encoder, threads or None)
    for clip in seen.whole_clips():
        for pairs in pair_chunks(clip):
            features.keep(dict(engine.run({"segments": pairs})))
