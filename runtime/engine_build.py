"""Build all engines of a bundle on the device that runs them, and compare them with the CPU."""

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
from gasmcast.precision import TENSORRT_PRECISIONS
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import Engine, choose_backend, open_engine
from gasmcast.runtime.engines.tensorrt import compile_graph
from gasmcast.runtime.engines.trt.build import Ensured, ensure_plan
from gasmcast.runtime.engines.trt.cuda import CudaDevice, find_device
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.library import gaps, load_tensorrt
from gasmcast.video.noise import drifting_noise

__all__ = [
    "MIN_COSINE",
    "DeviceEngine",
    "build_engines",
    "compare_engines",
    "require_tensorrt",
]

MIN_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8_fp16": 0.98}
"""Least cosine, by precision, of an engine's outputs and those of the CPU in FP32 on generated
pixels. FP16 engines that computed noise had cosines near 0."""


@dataclass(frozen=True)
class DeviceEngine:
    """Engine that was built or found; truthy if it agrees with the CPU or was not compared."""

    file: str
    graph: str
    precision: str
    size: int
    """Bytes of the engine."""
    built_s: float | None
    """Seconds that the build took; None if the engine was in the cache."""
    path: str
    cosine: float | None = None
    """Least cosine of its outputs and those of the CPU; None if they were not compared."""

    def __bool__(self) -> bool:
        return self.cosine is None or self.cosine >= MIN_COSINE[self.precision]

    def __str__(self) -> str:
        status = "ok  " if self else "FAIL"
        how = "from the cache" if self.built_s is None else f"built in {self.built_s:.0f} s"
        line = f"{status} {self.file}: {self.size / 1e6:.0f} MB, {how}"
        if self.cosine is not None:
            least = MIN_COSINE[self.precision]
            line += f", cosine with the CPU {self.cosine:.5f} (at least {least})"
        return line

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"passed": bool(self)}


def require_tensorrt(bundle: Path | None = None) -> CudaDevice:
    """Return the CUDA device, after checking for package, driver and device.

    Args:
        bundle: a bundle that is ready for another machine, for the error message.

    Raises:
        MachineError: names everything that is missing at once.
    """
    missing = gaps()
    if not missing:
        return find_device()

    # All obstacles at once: an engineer in the field installs them in one go.
    what = "; ".join(gap.what.rstrip(".") for gap in missing)
    hints = " ".join(gap.hint for gap in missing if gap.hint)
    ready = ""
    if bundle:
        ready = (
            f"The ONNX files in {bundle} are ready: on the device, run "
            f"`gasmcast engine build {bundle}`."
        )

    raise MachineError(
        f"This machine cannot build TensorRT engines: {what}.",
        f"{ready} To build here: {hints}".strip(),
    )


def build_engines(
    folder: Path,
    *,
    cameras: int,
    precisions: tuple[str, ...] = (),
    graphs: tuple[Graph, ...] = ("encoder", "head"),
    workspace: int | None = None,
    force: bool = False,
    compare: bool = True,
    on_engine: Callable[[DeviceEngine], None] = lambda _: None,
) -> list[DeviceEngine]:
    """Build the engines of a bundle for this machine, or find them in the cache.

    Args:
        folder: the bundle.
        cameras: cameras at once, the largest batch.
        precisions: from `TENSORRT_PRECISIONS`; empty: all that the bundle has.
        graphs: graphs to build.
        workspace: bytes that kernels may use; None: see `build.default_workspace`.
        force: build even what is in the cache.
        compare: run each engine and the CPU on the same generated pixels.
        on_engine: called with each engine when it is done.

    Raises:
        UsageError: not a bundle, or it lacks a precision.
        MachineError: something is missing on this machine, or a build failed.
    """
    # A wrong precision is reported before a missing driver.
    bundle = Bundle.open(folder)
    files = _files(bundle, precisions, graphs)

    device = require_tensorrt(folder)
    cache = EngineCache()
    version = str(load_tensorrt().__version__)
    comparison = _Comparison(bundle) if compare else None

    engines = []
    for name, graph in files:
        sha256, weights_sha256 = bundle.checksums(name)
        ensured = ensure_plan(
            folder / name,
            device,
            version,
            cameras,
            cache,
            sha256=sha256,
            weights_sha256=weights_sha256,
            workspace=workspace,
            force=force,
        )

        # Compare right away, so that the engines of a large bundle are not in memory together.
        cosine = None
        if comparison is not None:
            engine = compile_graph(
                folder / name, None, sha256, cameras, weights_sha256=weights_sha256
            )
            cosine = comparison.cosine(engine, graph)
            engine.close()

        engines.append(_summarize(name, ensured, cache.plan_path(ensured.key), cosine))
        on_engine(engines[-1])
    return engines


def _files(
    bundle: Bundle, precisions: tuple[str, ...], graphs: tuple[Graph, ...]
) -> list[tuple[str, Graph]]:
    """Return the files to build, with their graphs.

    Raises:
        UsageError: TensorRT does not run a precision, or the bundle lacks it.
    """
    for precision in precisions:
        if precision not in TENSORRT_PRECISIONS:
            raise UsageError(
                f"TensorRT takes no {precision!r}.",
                f"Precisions: {', '.join(TENSORRT_PRECISIONS)}.",
            )

    # Without a choice, take what TensorRT can run.
    files: list[tuple[str, Graph]] = []
    stored = set()
    for name, entry in bundle.manifest.files.items():
        wanted = entry.precision in (precisions or TENSORRT_PRECISIONS)
        if wanted and entry.graph is not None and entry.graph in graphs:
            files.append((name, entry.graph))
            stored.add(entry.precision)

    lacking = [precision for precision in precisions if precision not in stored]
    if lacking or not files:
        raise UsageError(
            f"{bundle.path} has no {', '.join(lacking) or 'graphs for TensorRT'}.",
            "Export it again with --precision.",
        )
    return files


def _summarize(name: str, ensured: Ensured, path: Path, cosine: float | None) -> DeviceEngine:
    return DeviceEngine(
        file=name,
        graph=ensured.key.graph,
        precision=ensured.key.precision,
        size=len(ensured.plan),
        built_s=None if ensured.built_s is None else round(ensured.built_s, 1),
        path=str(path),
        cosine=cosine,
    )


class _Comparison:
    """Comparison of a bundle's engines with the CPU in FP32.

    The encoder and the complete graph run on generated pixels, the head on the CPU's features.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._references: dict[Graph, Engine] = {}

    def cosine(self, engine: Engine, graph: Graph) -> float:
        """Return the least cosine of the outputs of an engine and those of the CPU."""
        return compare_engines(engine, self._reference(graph), self._feeds(graph))

    def _reference(self, graph: Graph) -> Engine:
        """Return the graph in FP32 on the CPU, compiled once."""
        if graph not in self._references:
            # ONNX Runtime is preferred but optional; OpenVINO is always installed.
            name = self._bundle.manifest.file(graph, "fp32")
            backend = "openvino" if _absent("onnxruntime") else "onnxruntime"
            sha256, weights_sha256 = self._bundle.checksums(name)
            self._references[graph] = open_engine(
                self._bundle.path / name,
                backend,
                sha256=sha256,
                weights_sha256=weights_sha256,
            )
        return self._references[graph]

    def _feeds(self, graph: Graph) -> Mapping[str, NDArray[Any]]:
        """Return inputs of a graph for a batch of one."""
        spec = self._bundle.manifest.spec
        if graph == "encoder":
            return {"segments": drifting_noise(1, spec.pair_shape)}
        if graph == "complete":
            return {"clip": drifting_noise(1, spec.clip_shape)}

        encoder = self._reference("encoder")
        # Features of the CPU's encoder, because the head expects their distribution.
        pairs = [drifting_noise(1, spec.pair_shape, seed) for seed in range(spec.segments)]
        rows = [encoder.run({"segments": pair}) for pair in pairs]
        return {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}


def _absent(backend: str) -> bool:
    try:
        choose_backend(backend)
    except MachineError:
        return True
    return False


def compare_engines(engine: Engine, reference: Engine, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Return the smallest cosine of any output of two engines; 0 if values are not finite."""
    outputs, expected = engine.run(feeds), reference.run(feeds)

    cosines = []
    for name, values in expected.items():
        # A model with one stream has features of size 0 for the other.
        if values.size:
            difference = compare("graph", name, "device", values, outputs[name])
            cosines.append(difference.cosine if np.isfinite(difference.max_error) else 0.0)
    return min(cosines)
