"""Building an engine from here: the child process, its progress, and its failures in one sentence."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from gasmcast.errors import GasmcastError, MachineError, UsageError
from gasmcast.runtime.engines.trt.builder import MARK, BuildRequest
from gasmcast.runtime.engines.trt.cuda import CudaDevice
from gasmcast.runtime.engines.trt.engine_cache import EngineCache, EngineKey, graph_sha256

__all__ = [
    "DEFAULT_STREAMS",
    "Built",
    "Ensured",
    "build_plan",
    "engine_key",
    "ensure_plan",
    "precision_of",
    "profiles_for",
]

DEFAULT_STREAMS = 4
RECIPE = 1  # part of the key: raise it when the builder builds something else from the same request

SIZE_HINT = (
    "Give it more memory (--workspace), fewer --streams, or close what else uses the device."
)


@dataclass(frozen=True)
class Built:
    """A plan that was built: with which version of the library, how long it took, how large it is."""

    plan: Path
    version: str
    seconds: float
    size: int


@dataclass(frozen=True)
class Ensured:
    """An engine that is there now; `built_s` None: it was there before."""

    key: EngineKey
    plan: bytes
    built_s: float | None


def profiles_for(streams: int) -> tuple[tuple[int, int, int], ...]:
    """Batch profiles (least, best, most) for 1..streams: one alone is the common case and is tuned by itself.

    Raises:
        UsageError: no stream at all.
    """
    if streams < 1:
        raise UsageError(f"--streams {streams} is less than 1.")
    return ((1, 1, 1),) if streams == 1 else ((1, 1, 1), (2, streams, streams))


def precision_of(onnx: Path) -> str:
    """What the name says: `encoder.int8_fp16.onnx` is int8_fp16, `encoder.onnx` is fp32."""
    parts = onnx.name.split(".")
    return parts[1] if len(parts) == 3 else "fp32"


def engine_key(
    onnx: Path, device: CudaDevice, version: str, streams: int, sha256: str | None = None
) -> EngineKey:
    """The key of the engine that this machine would build of a graph.

    Args:
        onnx: the graph.
        device: where it is to run.
        version: of TensorRT.
        streams: the largest batch.
        sha256: of the file, where it is known already; weights beside it are hashed all the same.
    """
    beside = onnx.with_name(onnx.name + ".data").is_file()
    return EngineKey(
        graph=onnx.name.split(".")[0],
        graph_sha256=sha256 if sha256 and not beside else graph_sha256(onnx),
        backend="tensorrt",
        version=version,
        device=device.name,
        sm=device.sm,
        precision=precision_of(onnx),
        profiles=" ".join("/".join(map(str, profile)) for profile in profiles_for(streams)),
        settings=f"recipe {RECIPE}, no TF32",
    )


def default_workspace(device: CudaDevice) -> int:
    """Bytes that kernels may take: 2 GB, or a quarter of a small device."""
    return min(2 << 30, device.memory // 4)


def ensure_plan(
    onnx: Path,
    device: CudaDevice,
    version: str,
    streams: int | None,
    cache: EngineCache,
    *,
    sha256: str | None = None,
    workspace: int | None = None,
    force: bool = False,
) -> Ensured:
    """The engine of a graph: from the cache where one is sound and fits, else built now and kept.

    Args:
        onnx: the graph.
        device: where it is to run, which is this machine.
        version: of TensorRT.
        streams: the largest batch; None: any engine that fits, the widest first, else `DEFAULT_STREAMS`.
        cache: where engines are kept.
        sha256: of the file, where it is known already.
        workspace: bytes that kernels may take.
        force: build even if there is one.

    Raises:
        UsageError: TensorRT does not take the graph.
        MachineError: the build failed, or the cache cannot be used.
    """
    key = engine_key(onnx, device, version, streams or DEFAULT_STREAMS, sha256)
    if streams is None:
        key = _widest(cache, key)
    with cache.building(key):
        found = cache.load(key)
        if found.plan is not None and not force:
            return Ensured(key, found.plan, None)
        why = "asked to" if force and found else found.why
        with (
            tempfile.TemporaryDirectory(dir=cache.folder, prefix=".build-") as folder,
            _status(onnx.name, device, why) as on_phase,
        ):
            request = BuildRequest(
                onnx=str(onnx.resolve()),
                plan=str(Path(folder) / "plan"),
                profiles=profiles_for(_most(key)),
                workspace=workspace or default_workspace(device),
                timing_cache=str(cache.timing_path(key)),
            )
            built = build_plan(request, on_phase)
            plan = built.plan.read_bytes()
        cache.store(key, plan, built.seconds)
    return Ensured(key, plan, built.seconds)


def _most(key: EngineKey) -> int:
    return int(key.profiles.split("/")[-1])


def _widest(cache: EngineCache, key: EngineKey) -> EngineKey:
    """The key of an engine there that differs in its profiles only and takes the most streams; else `key` itself."""
    fitting = [
        entry.key
        for entry in cache.entries()
        if replace(key, profiles=entry.key.profiles) == entry.key
    ]
    return max(fitting, key=_most, default=key)


@contextmanager
def _status(name: str, device: CudaDevice, why: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal while a build goes on; it takes what to show."""
    console = Console(stderr=True)
    console.print(
        f"Building {name} for {device}: {why}. This takes minutes, once.",
        highlight=False,
        soft_wrap=True,
    )
    with console.status("starting TensorRT") as status:
        yield lambda phase: status.update(f"{name}: {phase}")


def build_plan(request: BuildRequest, on_phase: Callable[[str], None] = lambda _: None) -> Built:
    """Build in a child process: TensorRT fails by crashing, and keeps the memory that it took.

    Args:
        request: what to build.
        on_phase: takes a line whenever the builder enters another phase.

    Raises:
        UsageError: TensorRT does not take the graph; its reason is in the text.
        MachineError: the build failed, ran out of memory, or the child crashed.
    """
    name = Path(request.onnx).name
    if not Path(request.onnx).is_file():
        raise UsageError(f"There is no file {request.onnx}.", "Export the bundle again.")
    tail: deque[str] = deque(maxlen=20)
    done: dict[str, float | int | str] | None = None
    failure: GasmcastError | None = None
    command = [sys.executable, "-m", "gasmcast.runtime.engines.trt.builder"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(request.to_json())
            child.stdin.close()
            for line in child.stdout:
                if not line.startswith(MARK):
                    tail.append(line.strip())
                    continue
                message = json.loads(line.removeprefix(MARK))
                if "phase" in message:
                    on_phase(message["phase"])
                elif "done" in message:
                    done = message["done"]
                else:
                    failure = _failure(name, request.module, message)
            code = child.wait()
        except BaseException:  # Ctrl-C too: no build goes on unseen
            child.kill()
            raise
    if failure is not None:
        raise failure
    if done is None or code != 0:
        raise MachineError(
            f"{name}: the {request.module} builder {_ending(code)}{_last(tail)}.", SIZE_HINT
        )
    return Built(
        Path(request.plan), str(done["version"]), float(done["seconds"]), int(done["size"])
    )


def _failure(name: str, module: str, message: dict[str, str]) -> GasmcastError:
    text = message["error"].rstrip(".")
    if message.get("kind") == "graph":
        return UsageError(
            f"{name}: {module} does not take this graph ({text}).",
            "Export it again with this version of gasmcast.",
        )
    return MachineError(f"{name}: {module} could not build this engine ({text}).", SIZE_HINT)


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"stopped with code {code}"


def _last(tail: deque[str]) -> str:
    lines = [line for line in tail if line]
    return f" ({lines[-1].rstrip('.')})" if lines else ""
