"""Probes of what NVIDIA's side needs: card and driver, TensorRT, JetPack."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from gasmcast.commands.doctor.finding import Finding
from gasmcast.commands.doctor.libraries import version_of
from gasmcast.errors import MachineError
from gasmcast.runtime.engines.trt.cuda import find_device

__all__ = ["gpu", "jetpack", "tensorrt"]

TENSORRT = ((10, 3), (12, 0))


def gpu() -> list[Finding]:
    """NVIDIA cards and their driver."""
    listed = _ask(
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,compute_cap",
        "--format=csv,noheader",
    )
    if listed:
        return [
            Finding("GPU", "ok", f"{name}; driver {driver}, {memory}, SM {sm}")
            for name, driver, memory, sm in _rows(listed)
        ]
    if Path("/etc/nv_tegra_release").exists():
        return [Finding("GPU", "ok", "integrated (Jetson)")]
    if Path("/proc/driver/nvidia/version").exists():
        return [
            Finding(
                "GPU",
                "warn",
                "an NVIDIA driver without nvidia-smi",
                "Install nvidia-utils of the driver's version.",
            )
        ]
    return [
        Finding(
            "GPU",
            "warn",
            "no NVIDIA GPU or driver; CPU engines are used",
            "For TensorRT: install the NVIDIA driver, or use a Jetson.",
        )
    ]


def tensorrt() -> list[Finding]:
    """TensorRT: its version, its bindings to CUDA, and a card to run on."""
    if find_spec("tensorrt") is None:
        return [
            Finding(
                "TensorRT",
                "warn",
                "not installed",
                "pip install 'gasmcast[tensorrt]' on a machine with an NVIDIA GPU; on a Jetson it comes with JetPack.",
            )
        ]
    version = version_of("tensorrt") or version_of("tensorrt-cu13") or version_of("tensorrt-cu12")
    if version is None:
        import tensorrt  # type: ignore[import-not-found,unused-ignore]

        version = str(tensorrt.__version__)
    number = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if not TENSORRT[0] <= number < TENSORRT[1]:
        return [
            Finding(
                "TensorRT",
                "warn",
                f"{version} is not among those that work",
                "Install TensorRT >= 10.3 and < 12.",
            )
        ]
    if find_spec("cuda") is None:
        return [
            Finding(
                "TensorRT",
                "warn",
                f"{version}, but cuda-bindings is missing",
                "pip install cuda-bindings (CUDA 12: 'cuda-bindings<13')",
            )
        ]
    try:
        find_device()
    except MachineError as error:
        return [Finding("TensorRT", "warn", f"{version}, but: {error.what}", error.hint)]
    return [Finding("TensorRT", "ok", version)]


def jetpack() -> list[Finding]:
    """JetPack; nothing where this is no Jetson."""
    release = Path("/etc/nv_tegra_release")
    if not release.exists():
        return []
    version = _ask("dpkg-query", "--showformat=${Version}", "--show", "nvidia-jetpack")
    text = version or release.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    major = re.match(r"(\d+)", version)
    if major and int(major.group(1)) < 6:
        return [
            Finding(
                "JetPack",
                "warn",
                text,
                "JetPack 6 or later has TensorRT 10.3, the oldest that works.",
            )
        ]
    return [Finding("JetPack", "ok", text)]


def _ask(*words: str) -> str:
    """What a program prints; empty where it is not there or fails."""
    if shutil.which(words[0]) is None:
        return ""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _rows(listed: str) -> list[list[str]]:
    return [
        cells
        for line in listed.splitlines()
        if len(cells := [c.strip() for c in line.split(",")]) == 4
    ]
