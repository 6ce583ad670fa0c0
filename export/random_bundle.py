"""A bundle of a preset with random weights: good for measuring speed and memory, and for nothing else.

It is the real graphs at their real shapes, in FP32 and INT8; the INT8 ranges come from a few made-up segments, since speed does not
depend on them. It is made once and kept in this user's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast import calibration, export, models
from gasmcast.calibration.quantize import Recipe, quantize
from gasmcast.export.bundle_writer import draft_bundle, write_manifest
from gasmcast.export.graphs.rules import load_graph
from gasmcast.export.graphs.trace import compose_complete, export_onnx, save_graph
from gasmcast.export.origin import open_origin
from gasmcast.manifest import Graph, Measured
from gasmcast.precision import PRECISIONS, file_name, stored_as
from gasmcast.runtime.engines import open_engine
from gasmcast.runtime.engines.user_cache import user_cache
from gasmcast.spec import ClipSpec

__all__ = ["trial_bundle"]

_CLIPS = 1


def trial_bundle(preset: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """The random-weight bundle of a preset, from the cache or made now.

    Args:
        preset: a preset's name or a YAML file of one.
        say: told of each step.

    Raises:
        UsageError: no such preset.
    """
    origin = open_origin(preset, random_weights=True)
    out = user_cache("trial") / f"{Path(preset).stem}-{origin.sha256[:12]}-{_code()}.gasm"
    if (out / "manifest.json").is_file():
        return out
    spec = origin.model.spec
    names: dict[str, tuple[Graph, str]] = {}
    with draft_bundle(out) as folder:
        paths = export_onnx(origin.model, folder, lambda graph: say(f"export {graph}"))
        say("quantize encoder")
        pairs = np.stack([clip[i : i + 2] for clip in _clips(spec) for i in range(spec.segments)])
        recipe = Recipe(smoothing=False)
        encoder = quantize(
            load_graph(paths["encoder"]),
            lambda: iter([{"segments": pair[None]} for pair in pairs[:4]]),
            recipe,
        )
        say("quantize head")
        engine = open_engine(paths["encoder"], "onnxruntime")
        encoded = [engine.run({"segments": pair[None]}) for pair in pairs]
        feeds: dict[str, NDArray[Any]] = {
            name: np.concatenate([e[name] for e in encoded])[None] for name in encoded[0]
        }
        del engine
        head = quantize(load_graph(paths["head"]), lambda: iter([feeds]), recipe)
        for graph, model in (
            ("encoder", encoder),
            ("head", head),
            ("complete", compose_complete(encoder, head, spec)),
        ):
            save_graph(model, folder / file_name(graph, "int8"))
        for graph in ("encoder", "head", "complete"):
            for precision in ("fp32", "int8"):
                names[file_name(graph, precision)] = (graph, precision)  # type: ignore[assignment] # three literals above
        say("checksums")
        none = Measured(clips=0, temperature=1.0, no_action=None)
        model_config = origin.config.model.model_dump(mode="json")
        write_manifest(
            folder,
            names,
            labels=origin.labels,
            spec=spec,
            model=model_config,
            checkpoint_sha256=origin.sha256,
            precisions={p: none for p in PRECISIONS if stored_as(p) in ("fp32", "int8")},
        )
    return out


def _code() -> str:
    """A digest of the code that such a bundle comes from, so that a bench measures the graphs of today."""
    digest = hashlib.sha256()
    for package in (models, calibration, export):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _clips(spec: ClipSpec) -> Iterator[NDArray[np.uint8]]:
    """Clips of drifting noise, blurred so that they have an image's spectrum more or less."""
    rng = np.random.default_rng(0)
    for _ in range(_CLIPS):
        ground = rng.integers(0, 256, (spec.pixels * 2, spec.pixels * 2, 3)).astype(np.float32)
        for axis in (0, 1):
            ground = np.mean([np.roll(ground, k, axis) for k in range(8)], axis=0)
        shots = [
            np.roll(ground, (k, 2 * k), (0, 1))[: spec.pixels, : spec.pixels]
            for k in range((1 + spec.segments) * spec.motion_frames)
        ]
        yield np.stack(shots).round().astype(np.uint8).reshape(spec.clip_shape)
