"""The one place that imports OpenVINO, so that its usage reports are off before the import."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from gasmcast.no_telemetry import disable_telemetry
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["load_openvino", "the_core"]


def load_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, and return the module.

    Raises:
        ImportError: the package is not installed.
        MachineError: too little memory or too few threads to load it.
    """
    disable_telemetry()
    try:
        import openvino  # noqa: PLC0415 - half a second
    except (RuntimeError, MemoryError, OSError) as error:
        raise_if_shortage(error, "OpenVINO cannot be loaded")
        raise
    module: ModuleType = openvino
    return module


@cache
def the_core() -> Any:  # noqa: ANN401 - the package is untyped
    """Return the process's one OpenVINO `Core`.

    On a CPU with AVX-512 each Core installs a signal stack for the thread that creates it, and
    restores the previous one when it is destroyed. If two Cores overlap, the second to be destroyed
    restores the stack of the first, which is freed by then: the next signal (SIGTERM, SIGCHLD)
    ends the process with SIGSEGV. Seen with OpenVINO 2026.4; `test_cpu_engines.py` has the test.

    Raises:
        MachineError: too little memory or too few threads to start it.
    """
    openvino = load_openvino()
    try:
        return openvino.Core()
    except (RuntimeError, MemoryError) as error:
        raise_if_shortage(error, "OpenVINO cannot start")
        raise
