"""Bundle of a preset with random weights, for measuring speed and memory only.

It holds the real graphs at their real shapes, in FP32 and INT8. The INT8 ranges come from a few
synthetic segments, because speed does not depend on them. It is made once and kept in the user's
cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from gasmcast import calibration, models
from gasmcast.calibration.quantize import Recipe, quantize
from gasmcast.export.bundle_writer import draft_bundle, write_manifest
from gasmcast.export.graphs.compose import compose_complete
from gasmcast.export.graphs.graph_file import load_graph, save_graph
from gasmcast.export.graphs.trace import export_onnx
from gasmcast.export.source import open_source
from gasmcast.manifest import Graph, Measured
from gasmcast.precision import PRECISIONS, file_name, stored_as
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines import join_batches, open_engine
from gasmcast.runtime.engines.user_cache import user_cache
from gasmcast.spec import ClipSpec

__all__ = ["random_bundle"]

_GRAPHS: tuple[Graph, ...] = ("encoder", "head", "complete")
_STORED = ("fp32", "int8")
_CLIPS = 1
_ENCODER_RUNS = 4


def random_bundle(preset: str, progress: Progress = silent) -> Path:
    """Return the random-weight bundle of a preset, from the cache or made now.

    Args:
        preset: name of a preset, or a YAML file.
        progress: called with each step.

    Raises:
        UsageError: no such preset.
    """
    source = open_source(preset, random_weights=True)

    # With both digests in its name, a cached bundle is of exactly these weights and this code.
    name = f"{Path(preset).stem}-{source.sha256[:12]}-{_code_digest()}.gasm"
    out = user_cache("trial") / name
    if (out / "manifest.json").is_file():
        return out

    spec = source.model.spec
    with draft_bundle(out, force=True) as folder:
        paths = export_onnx(source.model, folder, progress)
        for graph, model in _quantized(paths, spec, progress).items():
            save_graph(model, folder / file_name(graph, "int8"))

        progress("checksums")
        graphs = {file_name(g, p): (g, p) for g in _GRAPHS for p in _STORED}
        # Random weights have no accuracy.
        not_measured = Measured(clips=0, temperature=1.0, no_action=None)
        write_manifest(
            folder,
            graphs,
            labels=source.labels,
            spec=spec,
            model=source.config.model.model_dump(mode="json"),
            checkpoint_sha256=source.sha256,
            precisions={p: not_measured for p in PRECISIONS if stored_as(p) in _STORED},
        )
    return out


def _quantized(paths: dict[str, Path], spec: ClipSpec, progress: Progress) -> dict[str, ModelProto]:
    """Return encoder, head and complete graph in INT8."""
    # Smoothing changes values, not speed.
    recipe = Recipe(smoothing=False)
    pairs = np.stack([clip[i : i + 2] for clip in _clips(spec) for i in range(spec.segments)])

    progress("quantizing encoder")
    some = pairs[:_ENCODER_RUNS]
    encoder = quantize(
        load_graph(paths["encoder"]), lambda: iter([{"segments": p[None]} for p in some]), recipe
    )

    # The head is calibrated on one window of encoded segments.
    progress("quantizing head")
    engine = open_engine(paths["encoder"], "onnxruntime")
    encoded = [engine.run({"segments": pair[None]}) for pair in pairs]
    window = {name: features[None] for name, features in join_batches(encoded).items()}
    del engine
    head = quantize(load_graph(paths["head"]), lambda: iter([window]), recipe)

    return {"encoder": encoder, "head": head, "complete": compose_complete(encoder, head, spec)}


def _code_digest() -> str:
    """Return a digest of the code that makes such bundles, so that a change makes a new one."""
    digest = hashlib.sha256()
    folders = (
        Path(__file__).parent,
        *(Path(str(p.__file__)).parent for p in (models, calibration)),
    )
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _clips(spec: ClipSpec) -> Iterator[NDArray[np.uint8]]:
    """Yield clips of drifting noise, blurred to have roughly the spectrum of images."""
    rng = np.random.default_rng(0)
    frames = range((1 + spec.segments) * spec.motion_frames)
    for _ in range(_CLIPS):
        # A canvas of twice the size, so that the drift never leaves it.
        canvas = rng.integers(0, 256, (spec.pixels * 2, spec.pixels * 2, 3)).astype(np.float32)
        for axis in (0, 1):
            canvas = np.mean([np.roll(canvas, k, axis) for k in range(8)], axis=0)

        # Each frame sees the canvas a little further along.
        shifted = [
            np.roll(canvas, (k, 2 * k), (0, 1))[: spec.pixels, : spec.pixels] for k in frames
        ]
        yield np.stack(shifted).round().astype(np.uint8).reshape(spec.clip_shape)
