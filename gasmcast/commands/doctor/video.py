"""Check where frames come from: FFmpeg (PyAV), OpenCV, and cameras."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from gasmcast.commands.doctor.finding import Finding, ok, warning
from gasmcast.commands.doctor.libraries import version_of
from gasmcast.missing import missing_package

__all__ = ["cameras", "opencv"]

PACKAGES = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
"""Packages that install the same module."""


def opencv() -> list[Finding]:
    """Check OpenCV and its windows, and FFmpeg, which PyAV brings."""
    try:
        import cv2
    except ImportError as error:
        missing = missing_package(error)
        remedy = missing.hint if missing else "pip install --force-reinstall opencv-python"
        return [warning("OpenCV", f"cannot be loaded ({error})", remedy)]

    # The build information is the only place that names the GUI of a wheel.
    build = cv2.getBuildInformation()
    has_windows = "GUI:" in build and re.search(r"GUI:\s+NONE", build) is None
    windows = "available" if has_windows else "not available (--show needs them)"
    text = f"{cv2.__version__}, highgui: windows {windows}"

    # Two of these packages install the same folder, and the mixture may fail anywhere.
    installed = [name for name in PACKAGES if version_of(name)]
    finding = ok("OpenCV", text)
    if len(installed) > 1:
        conflict = f"{text}; {' and '.join(installed)} overwrite each other"
        finding = warning("OpenCV", conflict, "Uninstall both, then install one.")
    return [finding, _ffmpeg()]


def cameras() -> list[Finding]:
    """Check for video devices, and whether this user may open them."""
    if platform.system() != "Linux":
        hint = "try `gasmcast live 0 --bundle BUNDLE`"
        return [ok("cameras", f"not listed on this system; {hint}")]
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        remedy = "Plug a webcam in, or give an RTSP address or a file."
        return [warning("cameras", "no /dev/video*", remedy)]

    # The usual reason is a user that is not in the group "video".
    denied = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if denied:
        return [
            warning(
                "cameras",
                f"{denied[0]} may not be opened by this user",
                "sudo usermod -aG video $USER, then log in again.",
            )
        ]
    return [ok("cameras", "; ".join(map(_device_name, devices)))]


def _ffmpeg() -> Finding:
    """Check PyAV, which reads files and network streams."""
    try:
        import av
    except ImportError as error:
        missing = missing_package(error)
        remedy = missing.hint if missing else "pip install --force-reinstall av"
        return warning("FFmpeg", f"cannot be loaded ({error})", remedy)
    major, minor, micro = av.library_versions["libavcodec"]
    return ok("FFmpeg", f"in PyAV {av.__version__}, avcodec {major}.{minor}.{micro}")


def _device_name(device: Path) -> str:
    label = Path("/sys/class/video4linux", device.name, "name")
    if not label.exists():
        return str(device)
    return f"{device} {label.read_text(encoding='utf-8').strip()}".strip()
