"""The child process that builds a TensorRT engine from an ONNX file.

`python -m gasmcast.runtime.engines.trt.builder_process` reads a request. There is one strongly
typed path for TensorRT 10.3 to 11 and for TensorRT-RTX: types are those of the graph (FP16 and INT8
are in the ONNX file); there is no calibrator and no precision flag, because 11 has neither. It is a
separate process because TensorRT fails by crashing, keeps gigabytes, and allows one logger per
process.

Protocol: the request is JSON on standard input; each line on standard output that begins with
`MARK` is a JSON object: `{"phase": ...}` during the build, then `{"done": {...}}` or
`{"error": ..., "kind": "graph" | "build"}`.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gasmcast.child_process import end_with_parent
from gasmcast.files import write_atomic
from gasmcast.progress import Progress

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["MARK", "BuildFailure", "BuildRequest", "write_plan"]

MARK = "@gasmcast "


@dataclass(frozen=True)
class BuildRequest:
    """Request to the builder: the graph, the output, and how to build."""

    onnx: str
    """Path of the graph."""
    plan: str
    """Path of the engine to write."""
    profiles: tuple[tuple[int, int, int], ...]
    """Batch profiles (least, best, most)."""
    workspace: int = 2 << 30
    """Bytes that kernels may take."""
    timing_cache: str | None = None
    """Path of kernel timings to read and update."""
    module: str = "tensorrt"
    targets: tuple[str, ...] = ()
    """Architectures (SM86, ...) for TensorRT-RTX as a checker, which compiles without a device."""
    log: str | None = None
    """Path for the library's log, which the checker reads."""

    def to_json(self) -> str:
        """Return one line for the child's standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """Parse what `to_json` returned."""
        tree = json.loads(text)
        tree["profiles"] = tuple(tuple(p) for p in tree["profiles"])
        tree["targets"] = tuple(tree["targets"])
        return cls(**tree)


class BuildFailure(Exception):  # noqa: N818 - crosses a pipe and becomes a GasmcastError there
    """TensorRT refused: `kind` is `graph` (unsupported ONNX file) or `build` (not compiled)."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def write_plan(request: BuildRequest, progress: Progress) -> dict[str, Any]:
    """Build and write the engine.

    Args:
        request: what to build.
        progress: called with each phase of the builder.

    Returns:
        `version` of the library, `seconds`, `size` of the plan in bytes.

    Raises:
        BuildFailure: the graph or the build was refused.
    """
    trt = importlib.import_module(request.module)
    started = time.monotonic()
    logger, rows = _logger(trt)

    # All three stay in local names: each uses native memory of the one before without holding a
    # reference to it.
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    progress("reading the graph")
    if not parser.parse_from_file(request.onnx):
        raise BuildFailure("graph", _parse_errors(parser) or _errors(rows))

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # FP32 in the file is FP32 in the engine, not 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = _monitor(trt, progress)
    _add_profiles(builder, network, config, request.profiles)
    if request.targets:
        _set_targets(trt, config, request.targets)

    # Kernel timings of earlier builds on this device save most of the build time.
    timings = None
    if request.timing_cache:
        timings = config.create_timing_cache(_bytes_of(request.timing_cache))
        config.set_timing_cache(timings, False)

    # The log is written before a failure is raised: the checker reads it in both cases.
    plan = builder.build_serialized_network(network, config)
    if request.log:
        write_atomic(Path(request.log), "\n".join(text for _, text in rows))
    if plan is None:
        raise BuildFailure("build", _errors(rows))
    content = bytes(plan)
    write_atomic(Path(request.plan), content)
    if timings is not None and request.timing_cache:
        write_atomic(Path(request.timing_cache), bytes(timings.serialize()))
    return {
        "version": str(trt.__version__),
        "seconds": time.monotonic() - started,
        "size": len(content),
    }


def _logger(trt: ModuleType) -> tuple[trt.ILogger, list[tuple[str, str]]]:
    """Return a logger that stores (severity, text) instead of printing, and its rows."""
    rows: list[tuple[str, str]] = []

    class Rows(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, text: str) -> None:
            rows.append((str(severity).rpartition(".")[2], text))

    return Rows(), rows


def _monitor(trt: ModuleType, progress: Progress) -> trt.IProgressMonitor:
    """Return a monitor that reports phases and, at most twice a second, steps.

    TensorRT calls it from several threads.
    """
    steps: dict[str, int] = {}
    last = [0.0]  # time of the last report

    class Phases(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps
            if not parent_phase:
                progress(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.monotonic() - last[0] > 0.5:
                last[0] = time.monotonic()
                progress(f"{phase_name} {step + 1}/{steps.get(phase_name, 0)}")
            return True

    return Phases()


def _add_profiles(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: tuple[tuple[int, int, int], ...],
) -> None:
    """Add optimization profiles; the batch is the first axis and the only dynamic one."""
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise BuildFailure(
                "graph", f"input {tensor.name} has a dynamic axis other than the batch: {shape}"
            )
        if shape and shape[0] == -1:
            shapes[tensor.name] = shape[1:]
    if not shapes:
        return

    # One profile per batch range, over all inputs with a free batch.
    for least, best, most in profiles:
        profile = builder.create_optimization_profile()
        for name, rest in shapes.items():
            profile.set_shape(name, (least, *rest), (best, *rest), (most, *rest))
        if config.add_optimization_profile(profile) < 0:
            raise BuildFailure("build", f"the batch profile {least}..{most} was refused")


def _set_targets(rtx: ModuleType, config: rtx.IBuilderConfig, targets: tuple[str, ...]) -> None:
    """Compile for named architectures instead of a device that is present (TensorRT-RTX only)."""
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(rtx.ComputeCapability, target), index)


def _parse_errors(parser: trt.OnnxParser) -> str:
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        lines.append(f"{error.node_operator()} {error.node_name()}: {_clean(error.desc())}")
    return "; ".join(dict.fromkeys(lines))


def _errors(rows: list[tuple[str, str]]) -> str:
    errors = [_clean(text) for severity, text in rows if severity in {"ERROR", "INTERNAL_ERROR"}]
    return "; ".join(dict.fromkeys(errors)) or "TensorRT gave no reason"


def _clean(text: str) -> str:
    """Return one line without NVIDIA's source positions and messages of a missing driver."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\[checkMacros\.cpp::catchCudaError::\d+\].*$", "", text)
    text = re.sub(r"\[?\S+\.(?:cpp|h)::\S+::\d+\]? ?", "", text)
    return re.sub(r" ?\(?In \S+ at \S+\.(?:cpp|h):\d+\)?", "", text).strip()


def _bytes_of(path: str) -> bytes:
    file = Path(path)
    return file.read_bytes() if file.is_file() else b""


def _send(**fields: object) -> None:
    sys.stdout.write(MARK + json.dumps(fields) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the child process: read a request, write lines of the protocol."""
    end_with_parent()
    request = BuildRequest.from_json(sys.stdin.read())

    def progress(
        stage: str,
        done: int = 0,  # noqa: ARG001 - only stages are shown
        total: int = 0,  # noqa: ARG001 - only stages are shown
    ) -> None:
        _send(phase=stage)

    try:
        done = write_plan(request, progress)
    except BuildFailure as failure:
        _send(error=str(failure), kind=failure.kind)
        return 1
    except (TypeError, RuntimeError, OSError, ImportError, ValueError) as error:
        # pybind's null factory is a TypeError ("factory function returned nullptr"): no driver, or
        # out of memory.
        _send(error=f"{type(error).__name__}: {error}", kind="build")
        return 1
    _send(done=done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
