"""Stages of the GPU proof that PyTorch runs: environment, parity, training, resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gasmcast.child_process import child_environment
from gasmcast.commands.doctor.gpu_workplace import MissingError, StageFailedError, Workplace

__all__ = ["environment", "resume", "torch_parity", "training", "training_compiled"]

MIN_PARITY_COSINE = 0.9999
"""Least cosine of the logits of CPU and GPU in FP32."""


def environment(work: Workplace) -> None:
    """Report the machine: what `gasmcast doctor` finds, PyTorch and its device."""
    from gasmcast.commands.doctor.diagnosis import diagnose

    findings = {finding.topic: finding.text for finding in diagnose(cameras=False)}
    work.report(doctor=findings)

    try:
        import torch
    except ImportError:
        raise MissingError("PyTorch is not installed") from None
    work.report(torch=torch.__version__, cuda=torch.version.cuda)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        work.report(
            gpu=properties.name,
            gpu_memory_gb=round(properties.total_memory / 1e9, 1),
            compute_capability=f"{properties.major}.{properties.minor}",
        )


def torch_parity(work: Workplace) -> None:
    """Compare the logits of the CPU and of the device in FP32 on the same clip."""
    import torch

    from gasmcast.config import load_config
    from gasmcast.models.model import build_model
    from gasmcast.stopwatch import fastest_s
    from gasmcast.video.noise import drifting_noise

    device = work.device
    torch.manual_seed(0)
    settings = {k: v for k, v in work.settings.items() if k.startswith("model.")}
    model = build_model(load_config(work.preset, settings)).eval()
    clip = torch.from_numpy(drifting_noise(1, model.spec.clip_shape))

    # TF32 would compare another arithmetic.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        expected = _logits(model(clip))
        model, clip = model.to(device), clip.to(device)
        got = _logits(model(clip)).cpu()

        def run() -> None:
            model(clip)
            if device == "cuda":
                torch.cuda.synchronize()

        eager_ms = round(1000 * fastest_s(run, 5), 2)
    cosine = float(torch.nn.functional.cosine_similarity(expected, got, dim=-1).min())
    work.report(cosine=round(cosine, 7), whole_window_eager_fp32_ms=eager_ms)
    if not cosine >= MIN_PARITY_COSINE:
        raise StageFailedError(f"cosine {cosine:.5f} is below {MIN_PARITY_COSINE}")


def training(work: Workplace) -> None:
    """Train for a hundred weight updates in BF16 at real size."""
    _train(work, "run", {})


def training_compiled(work: Workplace) -> None:
    """Train the same with `torch.compile`."""
    # A compiler of its own runs on the CPU; the rehearsal is about the stage, not about it.
    _train(work, "run_compiled", {"train.compile": not work.rehearse})


def resume(work: Workplace) -> None:
    """Kill a run with SIGKILL in its middle, resume it, and see it finish."""
    _ = work.device  # a missing one is said before anything runs
    out = work.folder / "run_killed"
    command = [sys.executable, "-m", "gasmcast", "train", work.preset]
    command += ["--data", str(work.data), "--out", str(out), "--resume"]
    settings = {**work.settings, "train.checkpoint_minutes": 0.02, "train.epochs": 3}
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]

    # The first state that is on disk may be resumed.
    process = subprocess.Popen(command, env=child_environment())
    while process.poll() is None and not _state_of(out):
        time.sleep(0.05)
    finished_early = process.poll() is not None
    if finished_early and process.returncode:
        raise StageFailedError(f"training ended with code {process.returncode}")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    code = subprocess.run(command, env=child_environment(), check=False).returncode
    work.report(killed_before_its_end=not finished_early, exit_code=code)
    if code or not (out / "summary.json").is_file():
        raise StageFailedError(f"the resumed run ended with code {code}")


def _train(work: Workplace, name: str, settings: dict[str, Any]) -> None:
    import torch

    import gasmcast

    device = work.device
    result = gasmcast.train(
        work.preset, work.data, work.folder / name, settings={**work.settings, **settings}
    )
    kept = ("clips_per_s", "wait_share", "updates", "train_loss")
    work.report(**{key: result.metrics[key] for key in kept if key in result.metrics})
    if device == "cuda":
        work.report(memory_gb=round(torch.cuda.max_memory_allocated() / 1e9, 2))


def _state_of(out: Path) -> bool:
    return any(out.glob("state*.safetensors"))


def _logits(output: Any) -> Any:  # noqa: ANN401 - a tensor; torch is imported late
    return output[0] if isinstance(output, tuple) else output
