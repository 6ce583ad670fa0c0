"""ONNX to a TensorRT engine, in a process of its own: `python -m gasmcast.runtime.engines.trt.builder` reads a request.

One strongly typed path for TensorRT 10.3 to 11 and for TensorRT-RTX: types are those of the graph (FP16 and INT8 are
in the ONNX file), there is no calibrator and no precision flag, because 11 has neither. A process of its own, because
TensorRT fails by crashing, keeps gigabytes, and allows one logger a process.

Protocol: the request is JSON on standard input; each line on standard output that begins with `MARK` is a JSON
object: `{"phase": ...}` while it goes, then `{"done": {...}}` or `{"error": ..., "kind": "graph" | "build"}`.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gasmcast.files import write_atomic

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["MARK", "BuildFailure", "BuildRequest", "write_plan"]

MARK = "@gasmcast "


@dataclass(frozen=True)
class BuildRequest:
    """What to build, and how.

    `profiles` are (least, best, most) batches; `targets` (SM86, ...) and `log` are for TensorRT-RTX as a checker,
    which compiles without a device.
    """

    onnx: str
    plan: str
    profiles: tuple[tuple[int, int, int], ...]
    workspace: int = 2 << 30
    timing_cache: str | None = None
    module: str = "tensorrt"
    targets: tuple[str, ...] = ()
    log: str | None = None

    def to_json(self) -> str:
        """One line for the child's standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """The inverse of `to_json`."""
        tree = json.loads(text)
        tree["profiles"] = tuple(tuple(p) for p in tree["profiles"])
        tree["targets"] = tuple(tree["targets"])
        return cls(**tree)


class BuildFailure(Exception):  # noqa: N818 - it crosses a pipe as a line, and becomes a GasmcastError over there
    """TensorRT refused: `kind` is `graph` (it does not take the ONNX file) or `build` (it could not compile it)."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def write_plan(request: BuildRequest, report: Callable[[str], None]) -> dict[str, Any]:
    """Build and write the engine.

    Args:
        request: what to build.
        report: takes a short line whenever the builder enters another phase.

    Returns:
        `version` of the library, `seconds`, `size` of the plan in bytes.

    Raises:
        BuildFailure: the graph or the build was refused.
    """
    trt = importlib.import_module(request.module)
    began = time.monotonic()
    logger, rows = _logger(trt)
    # Builder, network and parser are kept in names: each holds native memory of the one before, and none holds a reference.
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    report("reading the graph")
    if not parser.parse_from_file(request.onnx):
        raise BuildFailure("graph", _parse_errors(parser) or _worst(rows))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(
        trt.BuilderFlag.TF32
    )  # FP32 in the file is FP32 in the engine, not 10 bits of mantissa
    config.progress_monitor = _monitor(trt, report)
    _add_profiles(builder, network, config, request.profiles)
    if request.targets:
        _aim(trt, config, request.targets)
    timings = None
    if request.timing_cache:
        timings = config.create_timing_cache(_bytes_of(request.timing_cache))
        config.set_timing_cache(timings, False)
    plan = builder.build_serialized_network(network, config)
    if request.log:
        write_atomic(Path(request.log), "\n".join(text for _, text in rows))
    if plan is None:
        raise BuildFailure("build", _worst(rows))
    content = bytes(plan)
    write_atomic(Path(request.plan), content)
    if timings is not None and request.timing_cache:
        write_atomic(Path(request.timing_cache), bytes(timings.serialize()))
    return {
        "version": str(trt.__version__),
        "seconds": time.monotonic() - began,
        "size": len(content),
    }


def _logger(trt: ModuleType) -> tuple[trt.ILogger, list[tuple[str, str]]]:
    """A logger that keeps (severity, text) instead of printing."""
    rows: list[tuple[str, str]] = []

    class Rows(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, text: str) -> None:
            rows.append((str(severity).rpartition(".")[2], text))

    return Rows(), rows


def _monitor(trt: ModuleType, report: Callable[[str], None]) -> trt.IProgressMonitor:
    """A progress monitor that reports phases and, at most twice a second, steps; TensorRT calls it from several threads."""
    steps: dict[str, int] = {}
    last = [0.0]

    class Phases(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps[phase_name] = num_steps
            if not parent_phase:
                report(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.monotonic() - last[0] > 0.5:
                last[0] = time.monotonic()
                report(f"{phase_name} {step + 1}/{steps.get(phase_name, 0)}")
            return True

    return Phases()


def _add_profiles(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: tuple[tuple[int, int, int], ...],
) -> None:
    """One optimization profile each: the batch is the first axis and the only dynamic one."""
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
    for least, best, most in profiles:
        profile = builder.create_optimization_profile()
        for name, rest in shapes.items():
            profile.set_shape(name, (least, *rest), (best, *rest), (most, *rest))
        if config.add_optimization_profile(profile) < 0:
            raise BuildFailure("build", f"the batch profile {least}..{most} was refused")


def _aim(rtx: ModuleType, config: rtx.IBuilderConfig, targets: tuple[str, ...]) -> None:
    """TensorRT-RTX only: compile for named architectures instead of for the device that is not there."""
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(rtx.ComputeCapability, target), index)


def _parse_errors(parser: trt.OnnxParser) -> str:
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        lines.append(f"{error.node_operator()} {error.node_name()}: {_clean(error.desc())}")
    return "; ".join(dict.fromkeys(lines))


def _worst(rows: list[tuple[str, str]]) -> str:
    errors = [_clean(text) for severity, text in rows if severity in {"ERROR", "INTERNAL_ERROR"}]
    return "; ".join(dict.fromkeys(errors)) or "TensorRT gave no reason"


def _clean(text: str) -> str:
    """One line, without NVIDIA's own source positions, and without the echo of there being no driver."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\[checkMacros\.cpp::catchCudaError::\d+\].*$", "", text)
    text = re.sub(r"\[?\S+\.(?:cpp|h)::\S+::\d+\]? ?", "", text)
    return re.sub(r" ?\(?In \S+ at \S+\.(?:cpp|h):\d+\)?", "", text).strip()


def _bytes_of(path: str) -> bytes:
    file = Path(path)
    return file.read_bytes() if file.is_file() else b""


def _say(**fields: object) -> None:
    sys.stdout.write(MARK + json.dumps(fields) + "\n")
    sys.stdout.flush()


def main() -> int:
    """The child process: a request in, lines out."""
    request = BuildRequest.from_json(sys.stdin.read())
    try:
        done = write_plan(request, lambda text: _say(phase=text))
    except BuildFailure as failure:
        _say(error=str(failure), kind=failure.kind)
        return 1
    except (TypeError, RuntimeError, OSError, ImportError, ValueError) as error:
        # pybind's null factory is a TypeError ("factory function returned nullptr"): no driver, or out of memory.
        _say(error=f"{type(error).__name__}: {error}", kind="build")
        return 1
    _say(done=done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
