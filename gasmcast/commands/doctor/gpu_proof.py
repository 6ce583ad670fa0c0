"""Prove on one machine with an NVIDIA GPU that everything runs there: one JSON file, one page.

Every stage runs in a process of its own with a time limit, so that one that hangs or crashes costs
its own result only. What is known is written after every stage.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from gasmcast import __version__
from gasmcast.child_process import child_environment
from gasmcast.errors import GateError, MachineError
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent

__all__ = [
    "LIMITS_S",
    "REHEARSAL_PATIENCE",
    "TOTAL_S",
    "StageResult",
    "missing_gpu",
    "prove",
    "require_proof",
]

TOTAL_S = 600.0
"""Seconds that all stages together may take."""
LIMITS_S = {
    "environment": 60.0,
    "torch parity": 60.0,
    "training": 90.0,
    "training compiled": 120.0,
    "kill and resume": 90.0,
    "bundle": 120.0,
    "onnxruntime parity": 60.0,
    "tensorrt engines": 240.0,
    "live equals forward": 60.0,
    "cameras": 60.0,
    "engine cache": 60.0,
}
"""Seconds of each stage, in their order."""
REHEARSAL_PATIENCE = 4.0
"""Factor on all limits in a rehearsal: it shows that stages run on a CPU, and not how fast."""
_STAGE = "gasmcast.commands.doctor.gpu_stage"


@dataclass(frozen=True)
class StageResult:
    """Result of one stage; truthy unless it failed."""

    name: str
    state: Literal["passed", "missing", "failed"]
    """`missing`: a library or device that the stage needs is not there."""
    text: str
    """Why it is missing or failed; empty if it passed."""
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured until the end of the stage, also if it failed."""

    def __bool__(self) -> bool:
        return self.state != "failed"


def missing_gpu() -> str:
    """Return why there is no GPU to prove anything on; empty if there is one."""
    from gasmcast.runtime.engines.trt.library import gaps

    # One of them is enough: the stages of the other then say that it is missing.
    if not gaps():
        return ""
    try:
        import torch
    except ImportError:
        return "neither PyTorch nor TensorRT is installed"
    return "" if torch.cuda.is_available() else "neither PyTorch nor TensorRT finds one"


def prove(
    folder: Path,
    *,
    rehearse: bool = False,
    progress: Progress = silent,
    on_stage: Callable[[StageResult], None] = lambda _: None,
) -> list[StageResult]:
    """Run all stages; write `gpu-proof.json` and `gpu-proof.html` after each.

    Args:
        folder: folder of the results, created if missing; those of an earlier run are replaced.
        rehearse: tiny sizes on the CPU, with OpenVINO in the place of TensorRT.
        progress: called before each stage.
        on_stage: called with each result.

    Raises:
        MachineError: there is no GPU, and this is no rehearsal.
    """
    missing = "" if rehearse else missing_gpu()
    if missing:
        raise MachineError(
            f"There is no NVIDIA GPU for a proof here: {missing}.",
            "Run it on the device, or try the stages on the CPU with --rehearse.",
        )
    (folder / "work").mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    patience = REHEARSAL_PATIENCE if rehearse else 1.0
    results: list[StageResult] = []
    for number, (name, limit_s) in enumerate(LIMITS_S.items()):
        progress("proving", number, len(LIMITS_S))
        left_s = patience * TOTAL_S - (time.monotonic() - started)
        result = _run(name, folder / "work", min(patience * limit_s, left_s), rehearse=rehearse)
        results.append(result)
        on_stage(result)
        _write(folder, results, rehearse=rehearse)
    return results


def require_proof(results: list[StageResult], folder: Path) -> None:
    """Raise if a stage failed.

    Raises:
        GateError: names the stages.
    """
    failed = [result.name for result in results if not result]
    if failed:
        raise GateError(
            f"{len(failed)} of {len(results)} stages failed: {', '.join(failed)}.",
            f"The reasons are in {folder / 'gpu-proof.html'}.",
        )


def _run(name: str, work: Path, limit_s: float, *, rehearse: bool) -> StageResult:
    """Run one stage in its own process, and end it at its limit."""
    if limit_s < 1.0:
        return StageResult(name, "failed", f"no time was left of {TOTAL_S:.0f} s", 0.0)
    stem = name.replace(" ", "_")
    answer, log = work / f"{stem}.json", work / f"{stem}.log"
    answer.unlink(missing_ok=True)

    started = time.monotonic()
    command = [sys.executable, "-m", _STAGE, name, str(work), *(["--rehearse"] if rehearse else [])]
    timed_out = False
    with log.open("w", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                timeout=limit_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            timed_out, code = True, -9
    seconds = round(time.monotonic() - started, 1)

    # A stage writes its figures as it goes, so some are there whatever ended it.
    said: dict[str, Any] = {}
    if answer.is_file():
        said = json.loads(answer.read_text(encoding="utf-8"))
    figures = said.get("figures", {})
    if timed_out:
        return StageResult(name, "failed", f"took longer than {limit_s:.0f} s", seconds, figures)
    if code or "state" not in said:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1][:300] if lines else "no message"
        return StageResult(name, "failed", f"ended with code {code}: {last}", seconds, figures)
    return StageResult(name, said["state"], said["text"], seconds, figures)


def _write(folder: Path, results: list[StageResult], *, rehearse: bool) -> None:
    from gasmcast.report.html import Table, render

    record = {
        "format": 1,
        "gasmcast": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rehearsal": rehearse,
        "complete": len(results) == len(LIMITS_S),
        "passed": all(results),
        "stages": [asdict(result) for result in results],
    }
    write_atomic(folder / "gpu-proof.json", json.dumps(record, indent=1))

    rows = []
    for result in results:
        figures = "; ".join(f"{key}: {value}" for key, value in _flat(result.figures).items())
        rows.append([result.name, result.state, f"{result.seconds:.0f}", result.text, figures])
    head = ["stage", "result", "s", "why", "figures"]
    page = render(
        "gpu_proof.html.j2",
        title="Proof on a GPU",
        record=record,
        table=Table(head=head, rows=rows),
    )
    write_atomic(folder / "gpu-proof.html", page)


def _flat(figures: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
