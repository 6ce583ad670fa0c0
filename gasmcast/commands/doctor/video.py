"""Probes of where pictures come from: OpenCV with its FFmpeg, cameras."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from gasmcast.commands.doctor.finding import Finding
from gasmcast.commands.doctor.libraries import version_of
from gasmcast.missing import missing_package

__all__ = ["cameras", "opencv"]


def opencv() -> list[Finding]:
    """OpenCV, its windows, and the FFmpeg in it."""
    try:
        import cv2
    except ImportError as error:
        missing = missing_package(error)
        remedy = missing.hint if missing else "pip install --force-reinstall opencv-python"
        return [Finding("OpenCV", "warn", f"cannot be loaded ({error})", remedy)]
    doubled = [
        n
        for n in ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
        if version_of(n)
    ]
    text = cv2.getBuildInformation()
    ffmpeg = re.search(r"FFMPEG:\s+YES", text) is not None
    codec = re.search(r"avcodec:\s+YES \(([\d.]+)\)", text)
    gui = re.search(r"GUI:\s+NONE", text) is None and re.search(r"GUI:", text) is not None
    what = f"{cv2.__version__}, {'windows' if gui else 'no windows (--show needs them)'}"
    found = [Finding("OpenCV", "ok", what)]
    if len(doubled) > 1:
        found = [
            Finding(
                "OpenCV",
                "warn",
                f"{what}; {' and '.join(doubled)} overwrite each other",
                "Uninstall both, then install one.",
            )
        ]
    if not ffmpeg:
        remedy = "Video files and RTSP need it: pip install --force-reinstall opencv-python"
        return [*found, Finding("FFmpeg", "warn", "OpenCV was built without it", remedy)]
    return [
        *found,
        Finding("FFmpeg", "ok", f"in OpenCV{f', avcodec {codec.group(1)}' if codec else ''}"),
    ]


def cameras() -> list[Finding]:
    """Video devices, and whether this user may open them."""
    if platform.system() != "Linux":
        return [
            Finding(
                "cameras", "ok", "not listed on this system; try `gasmcast live 0 --bundle BUNDLE`"
            )
        ]
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return [
            Finding(
                "cameras",
                "warn",
                "no /dev/video*",
                "Plug a webcam in, or give an RTSP address or a file.",
            )
        ]
    named = []
    for device in devices:
        label = Path("/sys/class/video4linux", device.name, "name")
        named.append(
            f"{device} {label.read_text(encoding='utf-8').strip() if label.exists() else ''}".strip()
        )
    shut = [d for d in devices if not os.access(d, os.R_OK | os.W_OK)]
    if shut:
        return [
            Finding(
                "cameras",
                "warn",
                f"{shut[0]} may not be opened by this user",
                "sudo usermod -aG video $USER, then log in again.",
            )
        ]
    return [Finding("cameras", "ok", "; ".join(named))]
