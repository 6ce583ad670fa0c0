"""Build an engine in a child process, with its progress and its failures in one sentence.

This is the parent's side; the child is `builder_process.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from gasmcast.child_process import child_environment
from gasmcast.errors import GasmcastError, MachineError, UsageError
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines.graph_files import copy_verified
from gasmcast.runtime.engines.trt.builder_process import MARK, BuildRequest
from gasmcast.runtime.engines.trt.cuda import CudaDevice
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.engine_key import (
    EngineKey,
    engine_key,
    max_batch_of,
    profiles_for,
)

__all__ = ["DEFAULT_CAMERAS", "Built", "Ensured", "build_plan", "default_workspace", "ensure_plan"]

# Enough for a small site; more cameras run in several parts.
DEFAULT_CAMERAS = 4

_MEMORY_HINT = (
    "Give it more memory (--workspace), fewer --cameras, or close what else uses the device."
)


@dataclass(frozen=True)
class Built:
    """A plan file that was built."""

    plan: Path
    version: str
    """Of the library."""
    seconds: float
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Ensured:
    """An engine that exists now."""

    key: EngineKey
    plan: bytes
    built_s: float | None
    """Seconds that the build took; None: it was in the cache."""


def default_workspace(device: CudaDevice) -> int:
    """Return the bytes that kernels may take: 2 GiB, or a quarter of a small device."""
    return min(2 << 30, device.memory // 4)


def ensure_plan(
    onnx: Path,
    device: CudaDevice,
    version: str,
    cameras: int | None,
    cache: EngineCache,
    *,
    sha256: str | None = None,
    weights_sha256: str | None = None,
    workspace: int | None = None,
    force: bool = False,
) -> Ensured:
    """Return the engine of a graph from the cache, or build it now and store it.

    Args:
        onnx: the graph.
        device: the device of this machine that is to run it.
        version: of TensorRT.
        cameras: largest batch; None: the cached engine with the largest one, else
            `DEFAULT_CAMERAS`.
        cache: where engines are kept.
        sha256: checksum that the file must have; None: not checked.
        weights_sha256: checksum that its external weights must have.
        workspace: bytes that kernels may take; None: see `default_workspace`.
        force: build even if the cache has the engine.

    Raises:
        UsageError: TensorRT does not support the graph, or it is not the file of that checksum.
        MachineError: the build failed, or the cache cannot be used.
    """
    key = engine_key(onnx, device, version, cameras or DEFAULT_CAMERAS, sha256)
    # An engine for more cameras serves fewer too, and is there at once.
    if cameras is None:
        key = _widest(cache, key)

    with cache.building(key):
        # Inside the lock: another process may have built it while this one waited.
        cached = cache.load(key)
        if cached.plan is not None and not force:
            return Ensured(key, cached.plan, None)

        # Build beside the cache's files, so that a killed build leaves nothing that looks valid.
        why = "requested" if cached else cached.why
        with (
            tempfile.TemporaryDirectory(dir=cache.folder, prefix=".build-") as folder,
            _status(onnx.name, device, why) as progress,
        ):
            # Built from a copy that was hashed: the engine stays in the cache under that digest.
            copy, digest = copy_verified(onnx, Path(folder), sha256, weights_sha256)
            if digest != key.graph_sha256:
                raise UsageError(f"{onnx} changed while it was read.", "Start again.")
            request = BuildRequest(
                onnx=str(copy),
                plan=str(Path(folder) / "plan"),
                profiles=profiles_for(max_batch_of(key)),
                workspace=workspace or default_workspace(device),
                timing_cache=str(cache.timing_path(key)),
            )
            built = build_plan(request, progress)
            plan = built.plan.read_bytes()

        cache.store(key, plan, built.seconds)
    return Ensured(key, plan, built.seconds)


def _widest(cache: EngineCache, key: EngineKey) -> EngineKey:
    """Return the cached key with the largest batch that differs only in profiles, else `key`."""
    fitting = [
        entry.key
        for entry in cache.entries()
        if replace(key, profiles=entry.key.profiles) == entry.key
    ]
    return max(fitting, key=max_batch_of, default=key)


@contextmanager
def _status(name: str, device: CudaDevice, why: str) -> Iterator[Progress]:
    """Show a status line on the terminal during a build; yields its progress callback."""
    # Standard output is for results.
    console = Console(stderr=True)
    console.print(
        f"Building {name} for {device}: {why}. This takes minutes, once.",
        highlight=False,
        soft_wrap=True,
    )

    # The status line replaces itself; the line above it stays in a log.
    with console.status("starting TensorRT") as status:

        def progress(
            stage: str,
            done: int = 0,  # noqa: ARG001 - only stages are shown
            total: int = 0,  # noqa: ARG001 - only stages are shown
        ) -> None:
            status.update(f"{name}: {stage}")

        yield progress


def build_plan(request: BuildRequest, progress: Progress = silent) -> Built:
    """Build in a child process: TensorRT fails by crashing, and keeps the memory that it took.

    Args:
        request: what to build.
        progress: called with each phase of the builder.

    Raises:
        UsageError: TensorRT does not support the graph; its reason is in the text.
        MachineError: the build failed, ran out of memory, or the child crashed.
    """
    name = Path(request.onnx).name
    if not Path(request.onnx).is_file():
        raise UsageError(f"There is no file {request.onnx}.", "Export the bundle again.")

    # Output must be read while the child runs, or its pipe fills and it blocks.
    outcome = _Outcome(name, request.module, progress)
    command = [sys.executable, "-m", "gasmcast.runtime.engines.trt.builder_process"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=child_environment(),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(request.to_json())
            child.stdin.close()
            for line in child.stdout:
                outcome.read(line)
            code = child.wait()
        except BaseException:  # Ctrl-C too: no build continues in the background
            child.kill()
            raise
    return outcome.result(request, code)


class _Outcome:
    """Read the output of a builder process and keep its result or failure.

    Args:
        name: file name of the graph, for error messages.
        module: `tensorrt` or `tensorrt_rtx`.
        progress: called with each phase.
    """

    def __init__(self, name: str, module: str, progress: Progress) -> None:
        self._name, self._module, self._progress = name, module, progress
        self._tail: deque[str] = deque(maxlen=20)
        self._done: dict[str, float | int | str] | None = None
        self._failure: GasmcastError | None = None

    def read(self, line: str) -> None:
        """Take one line: a message of our protocol, or output of the library."""
        if not line.startswith(MARK):
            self._tail.append(line.strip())
            return

        message = json.loads(line.removeprefix(MARK))
        if "phase" in message:
            self._progress(message["phase"])
        elif "done" in message:
            self._done = message["done"]
        else:
            self._failure = _failure(self._name, self._module, message)

    def result(self, request: BuildRequest, code: int) -> Built:
        """Return the plan of a child that ended with `code`, or raise why there is none."""
        # A reason from TensorRT explains more than the exit code.
        if self._failure is not None:
            raise self._failure

        # A crash leaves no message; the last line of the library's output is the best hint.
        if self._done is None or code != 0:
            last = next((line for line in reversed(self._tail) if line), "")
            detail = f" ({last.rstrip('.')})" if last else ""
            raise MachineError(
                f"{self._name}: the {self._module} builder {_ending(code)}{detail}.", _MEMORY_HINT
            )

        return Built(
            plan=Path(request.plan),
            version=str(self._done["version"]),
            seconds=float(self._done["seconds"]),
            size=int(self._done["size"]),
        )


def _failure(name: str, module: str, message: dict[str, str]) -> GasmcastError:
    # The reasons end up inside parentheses, where a period would be wrong.
    text = message["error"].rstrip(".")
    if message.get("kind") == "graph":
        return UsageError(
            f"{name}: {module} does not take this graph ({text}).",
            "Export it again with this version of gasmcast.",
        )
    return MachineError(f"{name}: {module} could not build this engine ({text}).", _MEMORY_HINT)


def _ending(code: int) -> str:
    """Describe an exit code; negative codes are signals."""
    if code >= 0:
        return f"stopped with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
