"""Check the machine itself: Python, processor, memory, disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from gasmcast.commands.doctor.finding import Finding, ok, warning

__all__ = ["cpu", "disk", "memory", "python"]

MIN_FREE_GB = 2.0
"""Free memory and disk space below which there is a warning."""
CPU_FEATURES = (
    "amx_int8",
    "amx_bf16",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512f",
    "avx2",
    "asimddp",
)
"""Instruction sets that speed inference up, as the kernel names them."""
INT8_FEATURES = frozenset(("amx_int8", "avx512_vnni", "avx_vnni", "asimddp"))


def python() -> list[Finding]:
    """Report the interpreter and the system."""
    system = f"{platform.system()} {platform.machine()}"
    return [ok("Python", f"{platform.python_version()} on {system}")]


def cpu() -> list[Finding]:
    """Check the processor for the instructions that inference gains from."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    # x86 and ARM kernels use different keys.
    model = re.search(r"model name\s*:\s*(.+)", text) or re.search(r"Model\s*:\s*(.+)", text)
    model_name = model.group(1).strip() if model else platform.processor() or "unknown"
    name = f"{model_name}, {os.cpu_count()} cores"

    # Nothing can be said about a processor whose features the system does not list.
    listed = re.search(r"(?:flags|Features)\s*:\s*(.+)", text)
    features = set(listed.group(1).split()) if listed else set()
    if not features:
        return [ok("CPU", name)]
    if not {"avx2", "asimd"} & features:
        remedy = "Inference will be slow; use a machine with AVX2 or later."
        return [warning("CPU", f"{name}; no AVX2", remedy)]

    present = ", ".join(feature for feature in CPU_FEATURES if feature in features)
    if not INT8_FEATURES & features:
        return [
            warning(
                "CPU",
                f"{name}; {present}, no INT8 dot products (VNNI)",
                "INT8 gains less here than on a CPU with VNNI: "
                "`gasmcast export` measures which precision wins.",
            )
        ]
    return [ok("CPU", f"{name}; {present}")]


def memory() -> list[Finding]:
    """Check free memory; no finding if the system does not tell it."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return []
    # "Available" includes caches that the kernel gives back, "free" does not.
    values = dict(re.findall(r"(\w+):\s+(\d+) kB", info.read_text(encoding="utf-8")))
    free_gb = int(values.get("MemAvailable", 0)) / 1e6
    total_gb = int(values.get("MemTotal", 0)) / 1e6

    text = f"{free_gb:.1f} GB free of {total_gb:.1f} GB"
    if free_gb < MIN_FREE_GB:
        remedy = "The real-size model needs about 2 GB: close something."
        return [warning("memory", text, remedy)]
    return [ok("memory", text)]


def disk(folder: Path) -> list[Finding]:
    """Check free space on the disk of a folder, which may not exist yet."""
    resolved = folder.resolve()
    # The disk of a new folder is that of its closest existing parent.
    existing = next(path for path in (resolved, *resolved.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9

    text = f"{free_gb:.1f} GB free at {existing}"
    if free_gb < MIN_FREE_GB:
        remedy = "Free some space: a real-size export writes 2 GB, and as much for temporary files."
        return [warning("disk", text, remedy)]
    return [ok("disk", text)]
