"""What this machine can do: one line a question, ok or warn, and for each warning what to do about it. Needs no torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from gasmcast.errors import MachineError
from gasmcast.missing import missing_package
from gasmcast.runtime.engines.cuda import find_device
from gasmcast.runtime.engines.openvino import the_core

__all__ = ["Finding", "diagnose", "next_step", "summary"]

LEAST_FREE_GB = 2.0
TENSORRT = ((10, 3), (12, 0))


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, and the remedy where it could be better."""

    topic: str
    state: Literal["ok", "warn"]
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def diagnose(folder: Path | None = None, cameras: bool = True) -> list[Finding]:
    """Look at everything; a probe that fails becomes a warning, never an exception.

    Args:
        folder: whose disk counts.
        cameras: list video devices.
    """
    probes: list[Callable[[], Iterable[Finding]]] = [_python, _cpu, _memory, lambda: _disk(folder or Path.cwd()), _openvino, _onnxruntime]
    probes += [_gpu, _tensorrt, _jetpack, _torch, _opencv]
    if cameras:
        probes.append(_cameras)
    found: list[Finding] = []
    for probe in probes:
        try:
            found += probe()
        except Exception as error:  # noqa: BLE001, PERF203 - a doctor must not fall ill, and there are a dozen probes
            found.append(Finding(getattr(probe, "__name__", "probe").strip("_"), "warn", f"could not be looked at ({error})"))
    return found


def summary(findings: Iterable[Finding]) -> str:
    """What follows from the findings, in one sentence."""
    states = {f.topic: f for f in findings}
    engines = [name for name in ("TensorRT", "OpenVINO", "ONNX Runtime") if name in states and states[name].state == "ok"]
    if not engines:
        return "No engine runs here: pip install openvino."
    camera = "" if "cameras" not in states or states["cameras"].state == "ok" else ", without a camera of its own"
    return f"This machine runs bundles with {', '.join(engines)}{camera}."


def next_step() -> str:
    """What to run now. The demo trains and exports, which the base install cannot."""
    if all(_version(package) for package in ("torch", "onnx", "onnxruntime")):
        return "gasmcast demo"
    return "gasmcast live 0 --bundle MODEL.gasm; with pip install 'gasmcast[export]' also gasmcast demo, which makes a bundle"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    return [Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]


def _cpu() -> list[Finding]:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text) or re.search(r"Model\s*:\s*(.+)", text)
    flags = set((re.search(r"(?:flags|Features)\s*:\s*(.+)", text) or re.match("()", "")).group(1).split()) if text else set()  # type: ignore[union-attr]
    name = f"{model.group(1).strip() if model else platform.processor() or 'unknown'}, {os.cpu_count()} cores"
    wide = [f for f in ("amx_int8", "amx_bf16", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512f", "avx2", "asimddp") if f in flags]
    if not flags:
        return [Finding("CPU", "ok", name)]
    if not {"avx2", "asimd"} & flags:
        return [Finding("CPU", "warn", f"{name}; no AVX2", "Inference will be slow; use a machine with AVX2 or later.")]
    if not {"amx_int8", "avx512_vnni", "avx_vnni", "asimddp"} & flags:
        text = f"{name}; {', '.join(wide)}, no INT8 dot products (VNNI)"
        return [
            Finding("CPU", "warn", text, "INT8 gains less here than on a CPU with VNNI: `gasmcast export` measures which precision wins.")
        ]
    return [Finding("CPU", "ok", f"{name}; {', '.join(wide)}")]


def _memory() -> list[Finding]:
    info = Path("/proc/meminfo")
    if not info.exists():
        return []
    values = dict(re.findall(r"(\w+):\s+(\d+) kB", info.read_text(encoding="utf-8")))
    free = int(values.get("MemAvailable", 0)) / 1e6
    text = f"{free:.1f} GB free of {int(values.get('MemTotal', 0)) / 1e6:.1f} GB"
    return [
        Finding("memory", "ok", text)
        if free >= 2
        else Finding("memory", "warn", text, "The real-size model needs about 2 GB: close something.")
    ]


def _disk(folder: Path) -> list[Finding]:
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free at {there}"
    return [
        Finding("disk", "ok", text)
        if free >= LEAST_FREE_GB
        else Finding("disk", "warn", text, "Free some space: a real-size export writes 2 GB, and as much for a while.")
    ]


def _openvino() -> list[Finding]:
    version = _version("openvino")
    if version is None:
        return [Finding("OpenVINO", "warn", "not installed", "pip install openvino")]
    return [Finding("OpenVINO", "ok", f"{version}, devices {', '.join(the_core().available_devices)}")]


def _onnxruntime() -> list[Finding]:
    names = [n for n in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml") if _version(n)]
    if not names:
        return [Finding("ONNX Runtime", "warn", "not installed; exports and the arbiter need it", "pip install 'gasmcast[onnxruntime]'")]
    import onnxruntime  # noqa: PLC0415 - heavy and optional

    providers = ", ".join(p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers())
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


def _ask(*words: str) -> str:
    """What a program prints; empty where it is not there or fails."""
    if shutil.which(words[0]) is None:
        return ""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _gpu() -> list[Finding]:
    listed = _ask("nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader")
    if listed:
        return [Finding("GPU", "ok", f"{name}; driver {driver}, {memory}, SM {sm}") for name, driver, memory, sm in _rows(listed)]
    if Path("/etc/nv_tegra_release").exists():
        return [Finding("GPU", "ok", "integrated (Jetson)")]
    if Path("/proc/driver/nvidia/version").exists():
        return [Finding("GPU", "warn", "an NVIDIA driver without nvidia-smi", "Install nvidia-utils of the driver's version.")]
    return [
        Finding("GPU", "warn", "no NVIDIA GPU or driver; CPU engines are used", "For TensorRT: install the NVIDIA driver, or use a Jetson.")
    ]


def _rows(listed: str) -> list[list[str]]:
    return [cells for line in listed.splitlines() if len(cells := [c.strip() for c in line.split(",")]) == 4]


def _tensorrt() -> list[Finding]:
    if find_spec("tensorrt") is None:
        return [
            Finding(
                "TensorRT",
                "warn",
                "not installed",
                "pip install 'gasmcast[tensorrt]' on a machine with an NVIDIA GPU; on a Jetson it comes with JetPack.",
            )
        ]
    version = _version("tensorrt") or _version("tensorrt-cu13") or _version("tensorrt-cu12")
    if version is None:
        import tensorrt  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - JetPack's has no metadata

        version = str(tensorrt.__version__)
    number = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if not TENSORRT[0] <= number < TENSORRT[1]:
        return [Finding("TensorRT", "warn", f"{version} is not among those that work", "Install TensorRT >= 10.3 and < 12.")]
    if find_spec("cuda") is None:
        return [
            Finding(
                "TensorRT", "warn", f"{version}, but cuda-bindings is missing", "pip install cuda-bindings (CUDA 12: 'cuda-bindings<13')"
            )
        ]
    try:
        find_device()
    except MachineError as error:
        return [Finding("TensorRT", "warn", f"{version}, but: {error.what}", error.hint)]
    return [Finding("TensorRT", "ok", version)]


def _jetpack() -> list[Finding]:
    release = Path("/etc/nv_tegra_release")
    if not release.exists():
        return []
    version = _ask("dpkg-query", "--showformat=${Version}", "--show", "nvidia-jetpack")
    text = version or release.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    major = re.match(r"(\d+)", version)
    if major and int(major.group(1)) < 6:
        return [Finding("JetPack", "warn", text, "JetPack 6 or later has TensorRT 10.3, the oldest that works.")]
    return [Finding("JetPack", "ok", text)]


def _torch() -> list[Finding]:
    version = _version("torch")
    if version is None:
        return [Finding("torch", "ok", "not installed; only training and export need it (pip install 'gasmcast[export]')")]
    return [Finding("torch", "ok", f"{version}, for training and export")]


def _opencv() -> list[Finding]:
    try:
        import cv2  # noqa: PLC0415 - a doctor says so when it is broken
    except ImportError as error:
        missing = missing_package(error)
        remedy = missing.hint if missing else "pip install --force-reinstall opencv-python"
        return [Finding("OpenCV", "warn", f"cannot be loaded ({error})", remedy)]
    doubled = [n for n in ("opencv-python", "opencv-python-headless", "opencv-contrib-python") if _version(n)]
    text = cv2.getBuildInformation()
    ffmpeg = re.search(r"FFMPEG:\s+YES", text) is not None
    codec = re.search(r"avcodec:\s+YES \(([\d.]+)\)", text)
    gui = re.search(r"GUI:\s+NONE", text) is None and re.search(r"GUI:", text) is not None
    what = f"{cv2.__version__}, {'windows' if gui else 'no windows (--show needs them)'}"
    found = [Finding("OpenCV", "ok", what)]
    if len(doubled) > 1:
        found = [Finding("OpenCV", "warn", f"{what}; {' and '.join(doubled)} overwrite each other", "Uninstall both, then install one.")]
    if not ffmpeg:
        remedy = "Video files and RTSP need it: pip install --force-reinstall opencv-python"
        return [*found, Finding("FFmpeg", "warn", "OpenCV was built without it", remedy)]
    return [*found, Finding("FFmpeg", "ok", f"in OpenCV{f', avcodec {codec.group(1)}' if codec else ''}")]


def _cameras() -> list[Finding]:
    if platform.system() != "Linux":
        return [Finding("cameras", "ok", "not listed on this system; try `gasmcast live 0 --bundle BUNDLE`")]
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return [Finding("cameras", "warn", "no /dev/video*", "Plug a webcam in, or give an RTSP address or a file.")]
    named = []
    for device in devices:
        label = Path("/sys/class/video4linux", device.name, "name")
        named.append(f"{device} {label.read_text(encoding='utf-8').strip() if label.exists() else ''}".strip())
    shut = [d for d in devices if not os.access(d, os.R_OK | os.W_OK)]
    if shut:
        return [Finding("cameras", "warn", f"{shut[0]} may not be opened by this user", "sudo usermod -aG video $USER, then log in again.")]
    return [Finding("cameras", "ok", "; ".join(named))]
