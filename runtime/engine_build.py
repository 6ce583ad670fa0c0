"""All engines of a bundle, built on the device that runs them, and compared there with the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.comparison import compare
from gasmcast.errors import MachineError, UsageError
from gasmcast.manifest import Graph
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import Engine, choose_backend, open_engine
from gasmcast.runtime.engines.tensorrt import compile_graph
from gasmcast.runtime.engines.trt.build import Ensured, ensure_plan
from gasmcast.runtime.engines.trt.cuda import CudaDevice, find_device
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.library import gaps, load_tensorrt

__all__ = [
    "LEAST_COSINE",
    "PRECISIONS",
    "DeviceEngine",
    "build_engines",
    "compare_engines",
    "made_up_pairs",
    "require_tensorrt",
]

PRECISIONS = ("fp32", "fp16", "int8_fp16")
"""What TensorRT takes of a bundle: INT8 with an FP16 rest; the one with an FP32 rest is for the CPU."""
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8_fp16": 0.98}
"""Of the engine's outputs and the CPU's in FP32, over made-up pixels. FP16 engines that came out as noise have cosines near 0."""


@dataclass(frozen=True)
class DeviceEngine:
    """One engine; truthy when its outputs are near those of the CPU, or were not compared."""

    file: str
    graph: str
    precision: str
    size: int
    built_s: float | None
    path: str
    cosine: float | None = None

    def __bool__(self) -> bool:
        return self.cosine is None or self.cosine >= LEAST_COSINE[self.precision]

    def __str__(self) -> str:
        how = "was there" if self.built_s is None else f"built in {self.built_s:.0f} s"
        near = (
            ""
            if self.cosine is None
            else f", cosine with the CPU {self.cosine:.5f} (at least {LEAST_COSINE[self.precision]})"
        )
        return f"{'ok  ' if self else 'FAIL'} {self.file}: {self.size / 1e6:.0f} MB, {how}{near}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"passed": bool(self)}


def require_tensorrt(bundle: Path | None = None) -> CudaDevice:
    """The device, where package, driver and device are all there.

    Raises:
        MachineError: names everything that is missing at once, and what of `bundle` is ready nevertheless.
    """
    found = gaps()
    if found:
        what = "; ".join(gap.what.rstrip(".") for gap in found)
        ready = (
            f"The ONNX files in {bundle} are ready: on the device, run `gasmcast engine build {bundle}`."
            if bundle
            else ""
        )
        hints = " ".join(gap.hint for gap in found if gap.hint)
        raise MachineError(
            f"This machine cannot build TensorRT engines: {what}.",
            f"{ready} To build here: {hints}".strip(),
        )
    return find_device()


def build_engines(
    folder: Path,
    *,
    streams: int,
    precisions: tuple[str, ...] = (),
    graphs: tuple[Graph, ...] = ("encoder", "head"),
    workspace: int | None = None,
    force: bool = False,
    compare: bool = True,
    each: Callable[[DeviceEngine], None] = lambda _: None,
) -> list[DeviceEngine]:
    """Build, or find in the cache, the engines of a bundle for this machine.

    Args:
        folder: the bundle.
        streams: the largest batch.
        precisions: of `PRECISIONS`; none: all that the bundle has.
        graphs: which graphs.
        workspace: bytes that kernels may take; None: see `build.default_workspace`.
        force: build even what is there.
        compare: run each engine and the CPU on the same made-up pixels.
        each: called with each engine as it is done.

    Raises:
        UsageError: not a bundle, or it lacks a precision.
        MachineError: something is missing on this machine, or a build failed.
    """
    bundle = Bundle.open(folder)
    chosen = _files(bundle, precisions, graphs)
    device = require_tensorrt(folder)
    cache, version = EngineCache(), str(load_tensorrt().__version__)
    feeds = _Feeds(bundle) if compare else None
    done = []
    for name, graph in chosen:
        sha256 = bundle.manifest.files[name].sha256
        ensured = ensure_plan(
            folder / name,
            device,
            version,
            streams,
            cache,
            sha256=sha256,
            workspace=workspace,
            force=force,
        )
        cosine = None
        if feeds is not None:
            session = compile_graph(folder / name, None, sha256, streams=streams)
            cosine = compare_engines(session, feeds.reference(graph), feeds.of(graph))
            session.close()
        done.append(_record(name, ensured, cache.plan_path(ensured.key), cosine))
        each(done[-1])
    return done


def _files(
    bundle: Bundle, precisions: tuple[str, ...], graphs: tuple[Graph, ...]
) -> list[tuple[str, Graph]]:
    for precision in precisions:
        if precision not in PRECISIONS:
            raise UsageError(
                f"TensorRT takes no {precision!r}.", f"Precisions: {', '.join(PRECISIONS)}."
            )
    entries = bundle.manifest.files.items()
    files = [
        (name, e.graph)
        for name, e in entries
        if e.graph is not None and e.graph in graphs and e.precision in (precisions or PRECISIONS)
    ]
    lacking = [
        p
        for p in precisions
        if p not in {bundle.manifest.files[name].precision for name, _ in files}
    ]
    if lacking or not files:
        raise UsageError(
            f"{bundle.path} has no {', '.join(lacking) or 'graphs for TensorRT'}.",
            "Export it again with --precision.",
        )
    return files


def _record(name: str, ensured: Ensured, path: Path, cosine: float | None) -> DeviceEngine:
    built_s = None if ensured.built_s is None else round(ensured.built_s, 1)
    return DeviceEngine(
        name,
        ensured.key.graph,
        ensured.key.precision,
        len(ensured.plan),
        built_s,
        str(path),
        cosine,
    )


class _Feeds:
    """What the engines are compared on: made-up pixels for the encoder and the complete graph, the CPU's own features for the head."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._open: dict[Graph, Engine] = {}

    def reference(self, graph: Graph) -> Engine:
        """The graph in FP32 on the CPU."""
        if graph not in self._open:
            name = self.bundle.manifest.file(graph, "fp32")
            backend = next((b for b in ("onnxruntime", "openvino") if not _absent(b)), "openvino")
            self._open[graph] = open_engine(
                self.bundle.path / name, backend, sha256=self.bundle.manifest.files[name].sha256
            )
        return self._open[graph]

    def of(self, graph: Graph) -> Mapping[str, NDArray[Any]]:
        """Inputs of a graph, one stream."""
        spec = self.bundle.manifest.spec
        if graph == "encoder":
            return {"segments": made_up_pairs(1, spec.pair_shape)}
        if graph == "complete":
            return {"clip": made_up_pairs(1, spec.clip_shape)}
        encoder = self.reference("encoder")
        rows = [
            encoder.run({"segments": made_up_pairs(1, spec.pair_shape, seed)})
            for seed in range(spec.segments)
        ]
        return {name: np.stack([row[name] for row in rows], 1) for name in rows[0]}


def _absent(backend: str) -> bool:
    try:
        choose_backend(backend)
    except MachineError:
        return True
    return False


def made_up_pairs(batch: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """`(batch, *shape)` pixels of coarse colored patches that drift over fine noise: nearer to video than noise alone."""
    rng = np.random.default_rng(seed)
    runs, frames, height, width, channels = shape
    coarse = rng.integers(0, 200, (batch, height // 8 + 1, width // 8 + 1, channels))
    patches = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    pixels = np.empty((batch, runs, frames, height, width, channels), np.uint8)
    for run in range(runs):
        for frame in range(frames):
            pixels[:, run, frame] = np.roll(patches, run * frames + frame, axis=2) + rng.integers(
                0, 56, patches.shape
            )
    return pixels


def compare_engines(engine: Engine, reference: Engine, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Return the smallest cosine of any output of two engines; 0 if values are not finite."""
    outputs, expected = engine.run(feeds), reference.run(feeds)

    cosines = []
    for name, right in expected.items():
        # A model with one stream has features of size 0 for the other.
        if right.size:
            difference = compare("graph", name, "device", right, outputs[name])
            cosines.append(difference.cosine if np.isfinite(difference.max_error) else 0.0)
    return min(cosines)
