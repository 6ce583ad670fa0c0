"""What to install where an import failed, for people who took the base install or have no screen."""

from __future__ import annotations

import re

from gasmcast.errors import MachineError

__all__ = ["missing_package"]

_OF_EXPORT = frozenset(
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
"""What the base install leaves out, and training and export need."""
_OF_A_DESKTOP = re.compile(r"(lib(?:GL|gthread-2\.0|glib-2\.0|xcb|X11)\.so\S*):")


def missing_package(error: ImportError) -> MachineError | None:
    """The error as one that names the remedy; None where it is none of these, but a bug."""
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in _OF_EXPORT:
        return MachineError(
            f"This needs the package {package}, which is not installed.",
            "pip install 'gasmcast[export]'",
        )
    if library := _OF_A_DESKTOP.match(
        str(error)
    ):  # opencv-python brings its windows, and those want the desktop's libraries
        return MachineError(
            f"OpenCV cannot be loaded without {library.group(1)}.",
            "On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0. Or put opencv-python-headless in the place of opencv-python.",
        )
    return None
