"""Process of one stage of the GPU proof: `python -m gasmcast.commands.doctor.gpu_stage NAME WORK`.

Its result is `WORK/NAME.json`; whatever it prints is a log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from gasmcast.child_process import end_with_parent
from gasmcast.commands.doctor import gpu_engine_stages, gpu_torch_stages
from gasmcast.commands.doctor.gpu_workplace import MissingError, StageFailedError, Workplace
from gasmcast.errors import GasmcastError
from gasmcast.missing import missing_package
from gasmcast.no_telemetry import disable_telemetry

__all__ = ["STAGES"]

STAGES: dict[str, Callable[[Workplace], None]] = {
    "environment": gpu_torch_stages.environment,
    "torch parity": gpu_torch_stages.torch_parity,
    "training": gpu_torch_stages.training,
    "training compiled": gpu_torch_stages.training_compiled,
    "kill and resume": gpu_torch_stages.resume,
    "bundle": gpu_engine_stages.make_bundle,
    "onnxruntime parity": gpu_engine_stages.onnxruntime_parity,
    "tensorrt engines": gpu_engine_stages.tensorrt_engines,
    "live equals forward": gpu_engine_stages.live_equals_forward,
    "cameras": gpu_engine_stages.cameras,
    "engine cache": gpu_engine_stages.engine_cache,
}
"""Stages by name."""


def main() -> None:
    """Run the stage that the arguments name."""
    end_with_parent()
    disable_telemetry()
    name, folder, *flags = sys.argv[1:]
    work = Workplace(Path(folder), name, rehearse="--rehearse" in flags)
    try:
        STAGES[name](work)
    except MissingError as error:
        work.write(state="missing", text=str(error))
    except StageFailedError as error:
        work.write(state="failed", text=str(error))
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        work.write(state="missing", text=missing.what)
    except GasmcastError as error:
        work.write(state="failed", text=str(error))
    else:
        work.write(state="passed", text="")


if __name__ == "__main__":
    main()
