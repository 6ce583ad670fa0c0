import json
import subprocess
import sys
from collections import namedtuple

import pytest
from typer.testing import CliRunner

from gasmcast import doctor
from gasmcast.doctor import Finding, diagnose, summary
from gasmcast.errors import MachineError


def by_topic(findings):
    return {f.topic: f for f in findings}


def test_every_question_has_a_line_and_every_warning_a_remedy(tmp_path):
    found = diagnose(tmp_path)
    assert {"Python", "CPU", "disk", "OpenVINO", "ONNX Runtime", "GPU", "TensorRT", "torch", "OpenCV", "FFmpeg"} <= by_topic(found).keys()
    assert all(f.remedy for f in found if f.state == "warn")


def test_a_probe_that_fails_is_a_warning(monkeypatch, tmp_path):
    def broken():
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "_gpu", broken)
    found = by_topic(diagnose(tmp_path))
    assert found["broken"].state == "warn"
    assert "no such thing" in found["broken"].text


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10**10, 10**10, 10**8))
    assert by_topic(diagnose(tmp_path))["disk"].state == "warn"


@pytest.mark.parametrize(("version", "state"), [("10.3.0", "ok"), ("11.4.0.106", "ok"), ("8.6.1", "warn"), ("12.0.1", "warn")])
def test_tensorrt_versions(monkeypatch, version, state):
    monkeypatch.setattr(doctor, "find_spec", lambda _: object())
    monkeypatch.setattr(doctor, "_version", lambda name: version if name == "tensorrt" else None)
    monkeypatch.setattr(doctor, "find_device", lambda: None)
    assert doctor._tensorrt()[0].state == state


def test_tensorrt_without_a_card_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: True)
    monkeypatch.setattr(doctor, "_version", lambda name: "10.13.2")

    def none():
        raise MachineError("There is no NVIDIA GPU.", "Use a machine with one.")

    monkeypatch.setattr(doctor, "find_device", none)
    (found,) = doctor._tensorrt()
    assert (found.state, found.remedy) == ("warn", "Use a machine with one.")
    assert "no NVIDIA GPU" in found.text


def test_nvidia_smi_is_read(monkeypatch):
    monkeypatch.setattr(doctor, "_ask", lambda *_: "NVIDIA RTX A2000, 560.35.03, 12282 MiB, 8.6")
    (found,) = doctor._gpu()
    assert found == Finding("GPU", "ok", "NVIDIA RTX A2000; driver 560.35.03, 12282 MiB, SM 8.6")


def test_the_summary_names_the_engines():
    assert "OpenVINO" in summary([Finding("OpenVINO", "ok", ""), Finding("TensorRT", "warn", "")])
    assert "No engine" in summary([Finding("OpenVINO", "warn", "")])


def test_the_command_prints_json(tmp_path):
    from gasmcast.cli import app

    done = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"])
    assert done.exit_code == 0
    tree = json.loads(done.stdout)
    assert {f["state"] for f in tree["findings"]} <= {"ok", "warn"}


def test_it_runs_where_torch_cannot_be_imported(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None\nfrom gasmcast.doctor import diagnose; print(len(diagnose()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
