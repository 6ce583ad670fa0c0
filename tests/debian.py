"""Debian packages that some tests need (`make debian`)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

__all__ = ["find_missing", "has_rtsp_server"]

COMMANDS = ("chromium", "ffmpeg", "mosquitto", "openssl", "strace")
DRIVERS = ("playwright", "axe_playwright_python")
"""Python packages that drive the browser."""
SYSTEM_PYTHON = Path("/usr/bin/python3")
IMPORT = "import gi; gi.require_version('GstRtspServer', '1.0')"


def find_missing() -> list[str]:
    """Return the names of what is not installed."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    missing += [name for name in DRIVERS if importlib.util.find_spec(name) is None]
    return missing if has_rtsp_server() else [*missing, "GStreamer's RTSP server"]


def has_rtsp_server() -> bool:
    """Return whether the system's Python has GStreamer's RTSP server."""
    command = [SYSTEM_PYTHON, "-c", IMPORT]
    return (
        SYSTEM_PYTHON.exists()
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
