"""All that there is to say about this machine: one line a question, ok or warn, and what to do about each warning. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gasmcast.commands.doctor import libraries, machine, nvidia, video
from gasmcast.commands.doctor.finding import Finding
from gasmcast.commands.doctor.libraries import version_of

__all__ = ["diagnose", "next_step", "summary"]


def diagnose(folder: Path | None = None, cameras: bool = True) -> list[Finding]:
    """Look at everything; a probe that fails becomes a warning, never an exception.

    Args:
        folder: whose disk counts.
        cameras: list video devices.
    """
    probes: dict[str, Callable[[], Iterable[Finding]]] = {
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
        probes["cameras"] = video.cameras
    found: list[Finding] = []
    for topic, probe in probes.items():
        try:
            found += probe()
        except Exception as error:  # noqa: BLE001, PERF203 - a doctor must not fall ill, and there are a dozen probes
            found.append(Finding(topic, "warn", f"could not be looked at ({error})"))
    return found


def summary(findings: Iterable[Finding]) -> str:
    """What follows from the findings, in one sentence."""
    states = {f.topic: f for f in findings}
    engines = [
        name
        for name in ("TensorRT", "OpenVINO", "ONNX Runtime")
        if name in states and states[name].state == "ok"
    ]
    if not engines:
        return "No engine runs here: pip install openvino."
    camera = (
        ""
        if "cameras" not in states or states["cameras"].state == "ok"
        else ", without a camera of its own"
    )
    return f"This machine runs bundles with {', '.join(engines)}{camera}."


def next_step() -> str:
    """What to run now. The demo trains and exports, which the base install cannot."""
    if all(version_of(package) for package in ("torch", "onnx", "onnxruntime")):
        return "gasmcast demo"
    return "gasmcast live 0 --bundle MODEL.gasm; with pip install 'gasmcast[export]' also gasmcast demo, which makes a bundle"
