"""Turn a failed import into an error that names what to install."""

from __future__ import annotations

import re

from gasmcast.errors import MachineError

__all__ = ["missing_package"]

_EXPORT_PACKAGES = frozenset(
    (
        "torch",
        "torchvision",
        "timm",
        "safetensors",
        "accelerate",
        "av",
        "matplotlib",
        "tensorboard",
        "onnx",
        "onnxscript",
        "onnxruntime",
    )
)
"""Packages of training and export, which the base install leaves out."""
_DESKTOP_LIBRARY = re.compile(r"(lib(?:GL|gthread-2\.0|glib-2\.0|xcb|X11)\.so\S*):")


def missing_package(error: ImportError) -> MachineError | None:
    """Return an error that names the remedy, or None if the failed import is a bug.

    Args:
        error: the failed import of an optional package, or of a library that OpenCV needs.
    """
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in _EXPORT_PACKAGES:
        return MachineError(
            f"This needs the package {package}, which is not installed.",
            "pip install 'gasmcast[export]'",
        )

    # opencv-python links its window code against libraries of a desktop.
    library = _DESKTOP_LIBRARY.match(str(error))
    if library is not None:
        return MachineError(
            f"OpenCV cannot be loaded without {library.group(1)}.",
            "On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0. "
            "Or replace opencv-python by opencv-python-headless.",
        )
    return None
