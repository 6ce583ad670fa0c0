"""Check everything that gasmcast needs from this machine; runs without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gasmcast.commands.doctor import libraries, machine, nvidia, video
from gasmcast.commands.doctor.finding import Finding
from gasmcast.commands.doctor.libraries import version_of
from gasmcast.missing import install_hint

__all__ = ["diagnose", "next_step", "summary"]


def diagnose(folder: Path | None = None, cameras: bool = True) -> list[Finding]:
    """Run all checks; a check that fails becomes a warning, never an exception.

    Args:
        folder: folder whose disk is checked; the current folder if None.
        cameras: also look for video devices.
    """
    # Each check is named, because one that fails must say which part it was about.
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "Python": machine.python,
        "CPU": machine.cpu,
        "memory": machine.memory,
        "disk": lambda: machine.disk(folder or Path.cwd()),
        "OpenVINO": libraries.openvino,
        "ONNX Runtime": libraries.onnxruntime,
        "GPU": nvidia.gpu,
        "TensorRT": nvidia.tensorrt,
        "JetPack": nvidia.jetpack,
        "torch": libraries.torch,
        "OpenCV": video.opencv,
    }
    if cameras:
        checks["cameras"] = video.cameras

    findings: list[Finding] = []
    for topic, check in checks.items():
        try:
            findings += check()
        except Exception as error:  # noqa: BLE001, PERF203 - one failure must not hide the rest
            findings.append(Finding(topic, "warn", f"could not be checked ({error})"))
    return findings


def summary(findings: Iterable[Finding]) -> str:
    """Return in one sentence what this machine can run."""
    usable = {finding.topic for finding in findings if finding.state == "ok"}
    topics = {finding.topic for finding in findings}
    engines = [name for name in ("TensorRT", "OpenVINO", "ONNX Runtime") if name in usable]
    if not engines:
        return "No engine runs here: pip install openvino."

    # Without the check for cameras nothing is known about them.
    without_camera = "cameras" in topics and "cameras" not in usable
    camera = ", without a camera of its own" if without_camera else ""
    return f"This machine runs bundles with {', '.join(engines)}{camera}."


def next_step() -> str:
    """Return the command to run next; the demo needs the packages for training and export."""
    if all(version_of(package) for package in ("torch", "onnx", "onnxruntime")):
        return "gasmcast demo"
    return (
        "gasmcast live 0 --bundle MODEL.gasm; "
        f"with {install_hint('export')} also gasmcast demo, which makes a bundle"
    )
