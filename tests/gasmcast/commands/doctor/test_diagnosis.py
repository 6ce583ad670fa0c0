import json
import subprocess
import sys

from typer.testing import CliRunner

from gasmcast.commands.doctor import machine, nvidia
from gasmcast.commands.doctor.diagnosis import diagnose, summary
from gasmcast.commands.doctor.finding import Finding


def by_topic(findings):
    return {f.topic: f for f in findings}


def test_every_question_has_a_line_and_every_warning_a_remedy(tmp_path):
    found = diagnose(tmp_path)
    assert {
        "Python",
        "CPU",
        "disk",
        "OpenVINO",
        "ONNX Runtime",
        "GPU",
        "TensorRT",
        "torch",
        "OpenCV",
        "FFmpeg",
    } <= by_topic(found).keys()
    assert all(f.remedy for f in found if f.state == "warn")


def test_a_probe_that_fails_is_a_warning(monkeypatch, tmp_path):
    def broken(*_):
        raise OSError("no such thing")

    for place, name, topic in ((nvidia, "gpu", "GPU"), (machine, "disk", "disk")):
        monkeypatch.setattr(place, name, broken)
        found = by_topic(diagnose(tmp_path))
        assert (found[topic].state, "no such thing" in found[topic].text) == ("warn", True)


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
        "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None\n"
        "from gasmcast.commands.doctor.diagnosis import diagnose; print(len(diagnose()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
