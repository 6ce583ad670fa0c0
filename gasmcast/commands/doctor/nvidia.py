"""Check what NVIDIA provides: card and driver, TensorRT, JetPack."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from gasmcast.commands.doctor.finding import Finding, ok, warning
from gasmcast.commands.doctor.libraries import version_of
from gasmcast.errors import MachineError
from gasmcast.missing import install_hint
from gasmcast.runtime.engines.trt.cuda import find_device
from gasmcast.runtime.engines.trt.library import SUPPORTED_RANGE, is_supported

__all__ = ["gpu", "jetpack", "tensorrt"]

OLDEST_JETPACK = 6
TEGRA_RELEASE = Path("/etc/nv_tegra_release")
"""File that exists on a Jetson."""


class _Card(NamedTuple):
    """Line of `nvidia-smi`."""

    name: str
    driver: str
    memory: str
    sm: str


def gpu() -> list[Finding]:
    """Check for NVIDIA cards and their driver."""
    listing = _output_of(
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,compute_cap",
        "--format=csv,noheader",
    )
    if listing:
        return [
            ok("GPU", f"{card.name}; driver {card.driver}, {card.memory}, SM {card.sm}")
            for card in _cards(listing)
        ]

    # A Jetson has no nvidia-smi in older releases, and a container may lack it.
    if TEGRA_RELEASE.exists():
        return [ok("GPU", "integrated (Jetson)")]
    if Path("/proc/driver/nvidia/version").exists():
        return [
            warning(
                "GPU",
                "an NVIDIA driver without nvidia-smi",
                "Install nvidia-utils of the driver's version.",
            )
        ]
    return [
        warning(
            "GPU",
            "no NVIDIA GPU or driver; CPU engines are used",
            "For TensorRT: install the NVIDIA driver, or use a Jetson.",
        )
    ]


def tensorrt() -> list[Finding]:
    """Check TensorRT: its version, its bindings to CUDA, and a card to run on."""
    if find_spec("tensorrt") is None:
        return [
            warning(
                "TensorRT",
                "not installed",
                f"{install_hint('tensorrt')} on a machine with an NVIDIA GPU; "
                "on a Jetson it comes with JetPack.",
            )
        ]

    version = _tensorrt_version()
    if not is_supported(version):
        return [
            warning(
                "TensorRT", f"{version} is not supported", f"Install TensorRT {SUPPORTED_RANGE}."
            )
        ]

    # The package does not depend on its bindings, so they may be missing.
    if find_spec("cuda") is None:
        return [
            warning(
                "TensorRT",
                f"{version}, but cuda-bindings is missing",
                "pip install cuda-bindings (CUDA 12: 'cuda-bindings<13')",
            )
        ]

    # Only opening the device shows whether driver and card really work.
    try:
        find_device()
    except MachineError as error:
        return [warning("TensorRT", f"{version}, but: {error.what}", error.hint)]
    return [ok("TensorRT", version)]


def jetpack() -> list[Finding]:
    """Check JetPack; no finding on a machine that is not a Jetson."""
    if not TEGRA_RELEASE.exists():
        return []
    version = _output_of("dpkg-query", "--showformat=${Version}", "--show", "nvidia-jetpack")
    text = version or TEGRA_RELEASE.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")

    # The package may be missing in a container; then the release file is all there is.
    major = re.match(r"(\d+)", version)
    if major and int(major.group(1)) < OLDEST_JETPACK:
        remedy = f"Install JetPack 6 or later; it has TensorRT {SUPPORTED_RANGE}."
        return [warning("JetPack", text, remedy)]
    return [ok("JetPack", text)]


def _tensorrt_version() -> str:
    for package in ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"):
        version = version_of(package)
        if version is not None:
            return version

    # JetPack installs the module without package metadata.
    import tensorrt  # type: ignore[import-not-found,unused-ignore]

    return str(tensorrt.__version__)


def _output_of(*words: str) -> str:
    """Return what a program prints; empty if it is missing or fails."""
    if shutil.which(words[0]) is None:
        return ""
    try:
        process = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _cards(listing: str) -> list[_Card]:
    cards = []
    for line in listing.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(_Card._fields):
            cards.append(_Card(*cells))
    return cards
