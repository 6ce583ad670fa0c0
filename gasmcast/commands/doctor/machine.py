"""Probes of the machine itself: Python, processor, memory, disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from gasmcast.commands.doctor.finding import Finding

__all__ = ["cpu", "disk", "memory", "python"]

LEAST_FREE_GB = 2.0


def python() -> list[Finding]:
    """The interpreter and the system."""
    return [
        Finding(
            "Python",
            "ok",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        )
    ]


def cpu() -> list[Finding]:
    """The processor, and whether it has what INT8 gains from."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text) or re.search(r"Model\s*:\s*(.+)", text)
    flags = (
        set(
            (re.search(r"(?:flags|Features)\s*:\s*(.+)", text) or re.match("()", ""))
            .group(1)
            .split()
        )
        if text
        else set()
    )  # type: ignore[union-attr]
    name = f"{model.group(1).strip() if model else platform.processor() or 'unknown'}, {os.cpu_count()} cores"
    wide = [
        f
        for f in (
            "amx_int8",
            "amx_bf16",
            "avx512_vnni",
            "avx_vnni",
            "avx512_bf16",
            "avx512f",
            "avx2",
            "asimddp",
        )
        if f in flags
    ]
    if not flags:
        return [Finding("CPU", "ok", name)]
    if not {"avx2", "asimd"} & flags:
        return [
            Finding(
                "CPU",
                "warn",
                f"{name}; no AVX2",
                "Inference will be slow; use a machine with AVX2 or later.",
            )
        ]
    if not {"amx_int8", "avx512_vnni", "avx_vnni", "asimddp"} & flags:
        text = f"{name}; {', '.join(wide)}, no INT8 dot products (VNNI)"
        return [
            Finding(
                "CPU",
                "warn",
                text,
                "INT8 gains less here than on a CPU with VNNI: `gasmcast export` measures which precision wins.",
            )
        ]
    return [Finding("CPU", "ok", f"{name}; {', '.join(wide)}")]


def memory() -> list[Finding]:
    """Free memory; nothing where the system does not say."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return []
    values = dict(re.findall(r"(\w+):\s+(\d+) kB", info.read_text(encoding="utf-8")))
    free = int(values.get("MemAvailable", 0)) / 1e6
    text = f"{free:.1f} GB free of {int(values.get('MemTotal', 0)) / 1e6:.1f} GB"
    return [
        Finding("memory", "ok", text)
        if free >= 2
        else Finding(
            "memory", "warn", text, "The real-size model needs about 2 GB: close something."
        )
    ]


def disk(folder: Path) -> list[Finding]:
    """Free space on the disk of a folder, which need not be there yet."""
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free at {there}"
    return [
        Finding("disk", "ok", text)
        if free >= LEAST_FREE_GB
        else Finding(
            "disk",
            "warn",
            text,
            "Free some space: a real-size export writes 2 GB, and as much for a while.",
        )
    ]
