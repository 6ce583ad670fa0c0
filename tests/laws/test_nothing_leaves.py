"""Nothing leaves the machine: every verb runs with all ways to the network watched.

A `sitecustomize` on PYTHONPATH refuses and logs connections to other hosts and all name look-ups,
in the process of the verbs and in each of its children.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gasmcast.commands import COMMANDS, GROUPS

ROOT = Path(__file__).resolve().parents[2]

GUARD = """
import os, socket
_path = os.environ.get("NETWORK_LOG")
_LOCAL = ("127.", "::1", "localhost")

def _refuse(what):
    with open(_path, "a") as log:
        log.write(f"{os.getpid()} {what}\\n")
    raise OSError(f"no network in this test: {what}")

def _connecting(call):
    def wrapped(self, *arguments):
        address = arguments[-1]
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOCAL):
            _refuse(f"{call.__name__} {address}")
        return call(self, *arguments)
    return wrapped

def _looking_up(call):
    def wrapped(host, *rest, **named):
        if host is not None and not str(host).startswith(_LOCAL):
            _refuse(f"{call.__name__} {host}")
        return call(host, *rest, **named)
    return wrapped

if _path:
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _connecting(getattr(socket.socket, name)))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        setattr(socket, name, _looking_up(getattr(socket, name)))
"""

RUN = """
import json, sys, traceback
from gasmcast.cli import app
for words in json.loads(sys.stdin.read()):
    try:
        app(words, standalone_mode=False)
    except SystemExit as end:
        print("exit", end.code, words, flush=True)
    except BaseException:
        traceback.print_exc()
        print("failed", words, flush=True)
print("all verbs ran")
"""

VERBS = """
demo-data data --clips 75
demo-video film.mp4 --seconds 12
train demo --data data --out run --set train.epochs=1 --set train.workers=0
runs .
eval run --data data
calibrate data --config run --clips 8 --out calib
export run --out m.gasm --data data --precision fp16 --no-measure --calibration calib
inspect m.gasm
inspect run
doctor . --no-cameras
engine list
engine clear
bench data demo --data data --clips 4 --workers 0 --batch-size 2
live film.mp4 --bundle m.gasm --jsonl out.jsonl --record run.jsonl
live film.mp4 --bundle m.gasm --engine onnxruntime --jsonl other.jsonl
replay run.jsonl
data check data
report run.jsonl --out recording.html
background film.mp4 --bundle m.gasm --hours 1 --out idle.npz
classify film.mp4 --bundle m.gasm --out labels --workers 1
enough --data data --config demo --out enough --draws 2 --set model.freeze=true
plan --cameras 10 --clips 10
cache demo --data data --out cache --set model.freeze=true --set train.cache_encoder=openvino
"""

OTHERS = {
    "demo": "runs the verbs above as child processes",
    "ablate": "trains, as `train` does",
    "explain": "runs a checkpoint or a bundle on files, as `eval` does",
    "threshold": "reads a file of `background` and writes the manifest",
    "serve": "runs until a signal; it opens no connection, and its engines are those of `live`",
    "bench live": "runs engines, as `live` does, in child processes",
    "weights": "downloads weights when it is asked to, and says so",
}
"""Verbs that the test does not run, and why."""


UNSET = (
    "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
    "DISABLE_TELEMETRY",
    "ORT_DISABLE_TELEMETRY",
    "ORT_TELEMETRY_DISABLED",
    "RAY_USAGE_STATS_ENABLED",
    "CI",
    "GITHUB_ACTIONS",
)
"""Variables that would silence a library without our doing."""


@pytest.fixture
def watched(tmp_path):
    """Return the environment of a process whose network is watched, and the log."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    log = tmp_path / "network.log"
    log.write_text("")

    # A fresh home: no opt-out file, and no cache of weights.
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    path = os.pathsep.join([str(guard), str(ROOT)])
    environment |= {"HOME": str(home), "PYTHONPATH": path, "NETWORK_LOG": str(log)}
    return environment, log, home


def run(code, environment, folder, **options):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def tracks(home):
    """Return the files in which telemetry of OpenVINO and ONNX Runtime keeps its client id."""
    return [path for path in home.rglob("*") if path.name in ("intel", "Microsoft", "deviceid")]


LOAD = """
import pathlib, sys
from gasmcast.runtime.engines import open_engine
for backend in ("onnxruntime", "openvino"):
    open_engine(sys.argv[1], backend, 1)
from gasmcast.commands.doctor.libraries import onnxruntime, openvino
onnxruntime(), openvino()
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed (make debian)")
def test_native_code_contacts_no_host_either(watched, tmp_path, tiny_export):
    environment, log, home = watched
    graph = tiny_export[2]["head"]
    trace = tmp_path / "trace"
    words = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", trace]
    done = subprocess.run(
        [*words, sys.executable, "-c", LOAD, graph],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("this process may not be traced")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
    assert log.read_text() == ""
    assert tracks(home) == []


def test_the_guard_sees_children_too(watched, tmp_path):
    environment, log, _ = watched
    code = (
        "import subprocess, sys\n"
        "call = 'import socket; socket.create_connection((\"example.invalid\", 80))'\n"
        "subprocess.run([sys.executable, '-c', call])\n"
    )
    run(code, environment, tmp_path)
    assert "getaddrinfo example.invalid" in log.read_text()


@pytest.mark.timeout(900)
def test_no_verb_contacts_another_host(watched, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    import json

    environment, log, home = watched
    folder = tmp_path / "work"
    folder.mkdir()
    verbs = [line.split() for line in VERBS.split("\n") if line]
    done = run(RUN, environment, folder, input=json.dumps(verbs))
    assert "all verbs ran" in done.stdout, done.stderr
    assert log.read_text() == ""
    assert not re.findall(r"^(?:failed|exit [^0N]).*", done.stdout, re.MULTILINE), (
        done.stdout + done.stderr
    )
    assert tracks(home) == []


def test_every_verb_is_watched_or_named_with_a_reason():
    names = {command.__name__.replace("_", "-") for command in COMMANDS} - {"evaluate"}
    watched_verbs = {line.split()[0] for line in VERBS.split("\n") if line}
    assert names - watched_verbs - OTHERS.keys() == set()
    assert set(GROUPS) - watched_verbs - OTHERS.keys() == set()


@pytest.mark.parametrize(
    ("library", "place"),
    [
        ("openvino", "runtime/engines/openvino_import.py"),
        ("onnxruntime", "runtime/engines/onnxruntime.py"),
    ],
)
def test_a_library_with_telemetry_is_imported_in_one_place(library, place):
    pattern = re.compile(rf"^\s*(?:import {library}|from {library}[. ])", re.MULTILINE)
    folders = ("gasmcast", "runtime", "export", "calibration")
    importing = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if path.resolve().is_relative_to(ROOT / folder) and pattern.search(path.read_text()):
                importing.add(path.relative_to(ROOT).as_posix())
    # Names of our own modules, such as `from gasmcast.runtime.engines.openvino import`, are others.
    assert importing == {place}


@pytest.mark.parametrize("library", ["timm", "torchvision", "accelerate", "tensorboard", "onnx"])
def test_libraries_of_training_and_export_are_silent(watched, tmp_path, library):
    pytest.importorskip(library)
    environment, log, _ = watched
    code = f"import gasmcast.models.backbones.vit, {library}"
    done = run(code, environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert log.read_text() == ""


def test_hugging_face_adds_no_usage_data():
    code = (
        "import gasmcast.models.backbones.weight_files\n"
        "from huggingface_hub import constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    pytest.importorskip("huggingface_hub")
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ray_reports_no_usage():
    pytest.importorskip("ray")
    code = (
        "from gasmcast.no_telemetry import disable_telemetry\n"
        "disable_telemetry()\n"
        "import importlib.util\n"
        # Ray moved the module from `_private` to `_common`.
        "place = 'ray._common.usage'\n"
        "found = importlib.util.find_spec(place)\n"
        "name = place if found else 'ray._private.usage'\n"
        "usage_lib = importlib.import_module(name + '.usage_lib')\n"
        "assert not usage_lib.usage_stats_enabled()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
