"""Turn a failed import into an error that names what to install."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gasmcast.errors import MachineError

__all__ = ["install_hint", "missing_package"]

_PACKAGES = {
    "archive": "pyarrow",
    "data": "scikit-learn",
    "mqtt": "paho-mqtt",
    "onnxruntime": "onnxruntime",
    "ray": "ray",
    "serve": "starlette",
    "web": "starlette wsproto",
    "tensorrt": "'tensorrt>=10.3,<12' cuda-bindings",
    "torch-tensorrt": "'torch-tensorrt>=2.14,<2.15'",
    "engines-check": "onnx tensorrt-rtx-cu13==1.7.1.116",
}
"""Extra -> distributions to install, where these are few."""

_EXPORT_PACKAGES = frozenset(
    (
        "torch",
        "torchvision",
        "timm",
        "safetensors",
        "huggingface_hub",
        "filelock",
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


def install_hint(extra: str) -> str:
    """Return the command that installs what an extra of this distribution needs.

    Only distributions that exist are named: the few packages themselves, or, for the many of
    training and export, the place that gasmcast was installed from.

    Args:
        extra: a key of `[project.optional-dependencies]` in pyproject.toml.

    Example:
        >>> install_hint("mqtt")
        'pip install paho-mqtt'
    """
    if extra in _PACKAGES:
        return f"pip install {_PACKAGES[extra]}"
    return f"pip install '{_origin(extra)}'"


def _origin(extra: str) -> str:
    """Return this distribution with an extra, as a requirement that pip can resolve."""
    source = Path(__file__).resolve().parents[1]
    if (source / "pyproject.toml").is_file():
        return f"{source}[{extra}]"

    # Direct URL origin (PEP 610): absent only where an index has the package.
    try:
        text = metadata.distribution("gasmcast").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return f".[{extra}]"
    if text is None:
        return f"gasmcast[{extra}]"

    url = str(json.loads(text)["url"])
    parts = urlsplit(url)
    if parts.scheme != "file":
        return f"gasmcast[{extra}] @ {url}"

    # A clone that was removed after the installation helps nobody.
    path = unquote(parts.path)
    return f"{path}[{extra}]" if Path(path).exists() else f".[{extra}]"


def missing_package(error: ImportError) -> MachineError | None:
    """Return an error that names the remedy, or None if the failed import is a bug.

    Args:
        error: the failed import of an optional package, or of a library that OpenCV needs.
    """
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in _EXPORT_PACKAGES:
        return MachineError(
            f"This needs the package {package}, which is not installed.",
            install_hint("export"),
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
