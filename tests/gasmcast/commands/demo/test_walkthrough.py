"""The demo's steps and page, the commands replaced by what they would leave."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from gasmcast.commands.demo import demo_page
from gasmcast.commands.demo import walkthrough as module
from gasmcast.commands.demo.walkthrough import run_demo
from gasmcast.errors import GasmcastError
from gasmcast.spec import ClipSpec

SCORES = {
    "clips": 9,
    "chance": 0.1,
    "top1": 0.9,
    "reversed": {"reversed_top1": 0.8, "classes_followed": 1.0},
    "shuffled": {"shuffled_top1": 0.5, "blind_ceiling": 0.5},
}
DECISION = {
    "kind": "decision",
    "window": [1.0, 5.0],
    "time_s": 5.0,
    "label": "Holding something",
    "p": 0.9,
    "best": "Holding something",
    "best_p": 0.9,
    "label_id": 0,
    "top": [["Holding something", 0.9]],
}


class Commands:
    """Fake `subprocess.run`: leaves what each command would leave.

    `ends` overrides the end of a verb: `{verb: (status, leaves its result)}`.
    """

    def __init__(
        self, folder: Path, precisions: tuple[str, ...] = ("fp32", "int8"), decisions: int = 1
    ) -> None:
        self.folder, self.precisions, self.decisions = folder, precisions, decisions
        self.ends: dict[str, tuple[int, bool]] = {}
        self.ran: list[str] = []

    def __call__(
        self, words: list[str], check: bool, env: dict[str, str]
    ) -> SimpleNamespace:
        verb = words[3]
        self.ran.append(verb)
        status, leaves = self.ends.get(verb, (0, True))
        if leaves:
            getattr(self, verb.replace("-", "_"))()
        return SimpleNamespace(returncode=status)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def demo_data(self) -> None:
        (self.folder / "data").mkdir()

    def train(self) -> None:
        self._write("run/summary.json", "{}")
        self._write("run/metrics.csv", "epoch,loss,top1\n1,2.0,0.5\n2,1.0,0.9\n")

    def eval(self) -> None:
        self._write("run/eval/scores.json", json.dumps(SCORES))

    def export(self) -> None:
        measured = {"agreement": 0.99, "top1": 0.9}
        manifest = {
            "spec": ClipSpec().model_dump(mode="json"),
            "precisions": dict.fromkeys(self.precisions, measured),
        }
        self._write("demo.gasm/manifest.json", json.dumps(manifest))

    def demo_video(self) -> None:
        self._write(
            "stream.json",
            json.dumps([{"start_s": 0.0, "end_s": 6.0, "template": "Holding [something]"}]),
        )

    def live(self) -> None:
        with (self.folder / "live.jsonl").open("a") as stream:  # as the sink does
            stream.write('{"kind": "start"}\n' + (json.dumps(DECISION) + "\n") * self.decisions)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands(tmp_path)
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=found))
    return found


def _demo(commands: Commands) -> str:
    return run_demo(commands.folder, 150, 0, lambda _: None).line


def _stops(commands: Commands, status: int) -> None:
    with pytest.raises(GasmcastError, match="Run the demo again") as caught:
        _demo(commands)
    assert caught.value.exit_code == status
    commands.ends = {}
    commands.ran.clear()


def test_all_steps_and_then_none(commands: Commands) -> None:
    assert "1 of 1 windows" in _demo(commands)
    assert commands.ran == ["demo-data", "train", "eval", "export", "demo-video", "live"]
    commands.ran.clear()
    assert "INT8 agrees with FP32 on 99.0 %" in _demo(commands)
    assert commands.ran == []


def test_int8_that_fails_the_gate_stops_once_and_is_told_on_the_page(commands: Commands) -> None:
    commands.precisions, commands.ends = ("fp32",), {"export": (4, True)}
    _stops(commands, 4)
    assert "INT8 failed the gate" in _demo(commands)
    assert commands.ran == ["demo-video", "live"]
    assert "failed the gate" in (commands.folder / "report.html").read_text()


@pytest.mark.parametrize(("status", "code"), [(1, 1), (-signal.SIGKILL, 137)])
def test_a_live_step_that_was_ended_is_run_again_from_nothing(
    commands: Commands, status: int, code: int
) -> None:
    commands.ends = {"live": (status, True)}
    _stops(commands, code)
    assert "1 of 1 windows" in _demo(commands)  # and not the killed one's line too
    assert commands.ran == ["live"]


def test_a_live_step_without_decisions_has_a_page(commands: Commands) -> None:
    commands.decisions = 0
    assert "0 of 0 windows" in _demo(commands)


def test_a_training_that_was_stopped_is_not_evaluated(commands: Commands) -> None:
    commands.ends = {"train": (0, False)}  # SIGTERM: the state is written, the status 0
    _stops(commands, 143)
    _demo(commands)
    assert commands.ran[0] == "train"


def test_the_page_has_the_video_an_axis_a_legend_and_what_the_figures_mean(
    commands: Commands,
) -> None:
    commands._write("live.mp4", "a small video")
    _demo(commands)
    page = (commands.folder / "report.html").read_text()
    assert 'src="data:video/mp4;base64,' in page
    assert "seconds of the video" in page
    assert 'class="legend"' in page
    assert "what it means" in page
    assert "Now with your own clips" in page
    assert "Holding something" in page


def test_a_large_video_stays_a_file_beside_the_page(commands: Commands, monkeypatch) -> None:
    monkeypatch.setattr(demo_page, "MOST_VIDEO_BYTES", 10)
    commands._write("live.mp4", "a video of more than ten bytes")
    _demo(commands)
    assert 'src="live.mp4">live.mp4</video>' in (
        commands.folder / "report.html"
    ).read_text()


def test_a_long_label_is_shortened_in_the_time_line() -> None:
    template = "Pretending to put [something] on a surface and then taking [something] away again"
    actions = [{"start_s": 0.0, "end_s": 60.0, "template": template}]
    svg = str(demo_page._time_line(actions, []))
    assert "Pretending to put something on a surface and th…" in svg
    assert "then taking" not in svg


def test_strips_are_of_the_strongest_decisions(tmp_path: Path) -> None:
    assert demo_page._stills(tmp_path / "missing.mp4", [DECISION]) == []
    assert demo_page._stills(tmp_path / "missing.mp4", []) == []
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert demo_page._stills(tmp_path / "broken.mp4", [DECISION]) == []
