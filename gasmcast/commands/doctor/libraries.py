"""Check the libraries that do not depend on the machine: OpenVINO, ONNX Runtime, torch."""

from __future__ import annotations

from importlib import metadata

from gasmcast.commands.doctor.finding import Finding, ok, warning
from gasmcast.missing import install_hint
from gasmcast.runtime.engines.openvino_import import the_core

__all__ = ["onnxruntime", "openvino", "torch", "version_of"]


def version_of(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def openvino() -> list[Finding]:
    """Check OpenVINO and list its devices."""
    version = version_of("openvino")
    if version is None:
        return [warning("OpenVINO", "not installed", "pip install openvino")]
    return [ok("OpenVINO", f"{version}, devices {', '.join(the_core().available_devices)}")]


def onnxruntime() -> list[Finding]:
    """Check ONNX Runtime, and that only one of its packages is installed."""
    packages = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
    installed = [name for name in packages if version_of(name)]
    if not installed:
        return [
            warning(
                "ONNX Runtime",
                "not installed; exports and their parity checks need it",
                install_hint("onnxruntime"),
            )
        ]

    from gasmcast.runtime.engines.onnxruntime import load_onnxruntime

    onnxruntime = load_onnxruntime()
    names = onnxruntime.get_available_providers()
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in names)
    text = f"{onnxruntime.__version__}, {providers}"

    # The packages share one folder, so the last one installed hides the others.
    if len(installed) > 1:
        return [
            warning(
                "ONNX Runtime",
                f"{text}; {' and '.join(installed)} overwrite each other",
                f"pip uninstall {installed[1]}, then reinstall {installed[0]}",
            )
        ]
    return [ok("ONNX Runtime", text)]


def torch() -> list[Finding]:
    """Check PyTorch, which only training and export need."""
    version = version_of("torch")
    if version is None:
        need = f"only training and export need it ({install_hint('export')})"
        return [ok("torch", f"not installed; {need}")]
    return [ok("torch", f"{version}, for training and export")]
