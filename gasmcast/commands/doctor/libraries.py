"""Probes of the libraries that run and make models on any machine: OpenVINO, ONNX Runtime, torch."""

from __future__ import annotations

from importlib import metadata

from gasmcast.commands.doctor.finding import Finding
from gasmcast.runtime.engines.openvino import the_core

__all__ = ["onnxruntime", "openvino", "torch", "version_of"]


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def openvino() -> list[Finding]:
    """OpenVINO and the devices that it sees."""
    version = version_of("openvino")
    if version is None:
        return [Finding("OpenVINO", "warn", "not installed", "pip install openvino")]
    return [
        Finding("OpenVINO", "ok", f"{version}, devices {', '.join(the_core().available_devices)}")
    ]


def onnxruntime() -> list[Finding]:
    """ONNX Runtime, and whether two of its packages are in each other's way."""
    names = [n for n in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml") if version_of(n)]
    if not names:
        return [
            Finding(
                "ONNX Runtime",
                "warn",
                "not installed; exports and the arbiter need it",
                "pip install 'gasmcast[onnxruntime]'",
            )
        ]
    import onnxruntime

    providers = ", ".join(
        p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()
    )
    text = f"{onnxruntime.__version__}, {providers}"
    if len(names) > 1:
        return [
            Finding(
                "ONNX Runtime",
                "warn",
                f"{text}; {' and '.join(names)} overwrite each other",
                f"pip uninstall {names[1]}, then reinstall {names[0]}",
            )
        ]
    return [Finding("ONNX Runtime", "ok", text)]


def torch() -> list[Finding]:
    """PyTorch, which only training and export need."""
    version = version_of("torch")
    if version is None:
        return [
            Finding(
                "torch",
                "ok",
                "not installed; only training and export need it (pip install 'gasmcast[export]')",
            )
        ]
    return [Finding("torch", "ok", f"{version}, for training and export")]
