from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gasmcast.errors import GateError, SourceError, UsageError
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.journal import Journal
from gasmcast.runtime.records import Decision, Event, Notice, Stats
from gasmcast.runtime.replay import ReplaySource, replay
from gasmcast.runtime.session import Session, open_model
from gasmcast.runtime.sources.file import FileSource


class Kept:
    """A sink that keeps everything, pictures' times too."""

    def __init__(self):
        self.items, self.closed = [], False

    def write(self, record):
        self.items.append(record)

    def frame(self, camera, time_s, image):
        self.items.append((camera, time_s, image.shape))

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def opened(tiny_bundle):
    return open_model(tiny_bundle, "onnxruntime", threads=1)


@pytest.fixture
def recording(opened, moving_video, tmp_path):
    path = tmp_path / "run.jsonl"
    journal = Journal(path, opened[0], LiveConfig(on=0.3, off=0.2), opened[1])
    sink = Kept()
    session = Session(opened[0], LiveConfig(on=0.3, off=0.2), [sink], journal=journal)
    session.add(FileSource(moving_video, "m"), told_as=str(moving_video))
    assert session.run() == []
    return path, sink


def test_a_session_runs_a_file_to_its_end_and_closes_its_sinks(recording):
    _, sink = recording
    assert sink.closed
    assert sum(isinstance(r, Decision) for r in sink.items) == 9
    assert isinstance(sink.items[-1], Stats)
    assert any(isinstance(r, Notice) and r.text == "m has ended." for r in sink.items)


def test_a_view_gets_each_frame_after_the_decisions_before_it_and_before_the_next(recording):
    _, sink = recording
    newest, frames = 0.0, 0
    for item in sink.items:
        if isinstance(item, Decision):
            newest = item.time_s
        elif isinstance(item, tuple):
            frames += 1
            assert newest - 1 / 8 <= item[1] + 1e-6  # the last slot of a window is one eighth before its end
            assert item[1] < max(newest, 1.5) + 0.5 + 1e-6  # windows are 2.0 s, hops 0.5 s
    assert frames == 180


def test_a_replay_makes_every_decision_again(recording):
    path, sink = recording
    again = []
    result = replay(path, again.append)
    assert result
    assert again == [r for r in sink.items if isinstance(r, Decision | Event)]
    assert result.decisions == 9


def test_a_replay_with_other_settings_shows_what_they_would_do(recording):
    path, _ = recording
    result = replay(path, lambda record: None, LiveConfig(on=1.0))
    assert not result
    assert any("were told" in sentence for sentence in result.different)


def test_an_edited_recording_is_found_out(recording, monkeypatch):
    path, _ = recording
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if json.loads(line)["is"] == "window")
    line = json.loads(lines[place])
    line["logits"][0] += 0.5
    lines[place] = json.dumps(line)
    path.write_text("\n".join(lines) + "\n")
    result = replay(path, lambda record: None)
    assert not result
    assert "differs in" in result.different[0]
    from gasmcast.commands.live import _replay

    with pytest.raises(GateError):
        _replay(path, None, path.with_suffix(".out"))


def test_a_torn_last_line_is_forgiven_and_rubbish_is_not(recording, tmp_path):
    path, _ = recording
    text = path.read_text()
    path.write_text(text[: text.rindex('{"is":"record"') + 20])
    replay(path, lambda record: None)
    path.write_text("hello\n")
    with pytest.raises(UsageError, match="not a recording"):
        replay(path, lambda record: None)
    with pytest.raises(UsageError, match="cannot be read"):
        replay(tmp_path / "none.jsonl", lambda record: None)


def test_replay_as_a_source_gives_the_frames_that_were_taken(recording, moving_video, opened):
    path, sink = recording
    kept = Kept()
    session = Session(opened[0], LiveConfig(on=0.3, off=0.2), [kept])
    session.add(ReplaySource(path, "m"))
    assert session.run() == []
    ours = [(r.window, r.label, r.p) for r in kept.items if isinstance(r, Decision)]
    assert ours == [(r.window, r.label, r.p) for r in sink.items if isinstance(r, Decision)]
    path.write_text(path.read_text().replace(str(moving_video), "/nowhere.mp4"))
    with pytest.raises(SourceError, match="not the recording of one file"):
        list(ReplaySource(path, "m").frames())


class Endless:
    """A live source that ends when it is closed."""

    live = True

    def __init__(self, name, fps=30.0):
        self.name, self.fps = name, fps

    def frames(self):
        count = 0
        while True:
            time.sleep(1 / self.fps)
            count += 1
            yield Frame(None, time.monotonic(), np.full((48, 64, 3), count % 256, np.uint8))


def test_stop_finishes_what_is_under_way(opened):
    sink = Kept()
    session = Session(opened[0], LiveConfig(on=0.05, off=0.0), [sink])
    session.add(Endless("cam"))
    threading.Timer(4.0, session.stop).start()
    assert session.run() == []
    events = [r for r in sink.items if isinstance(r, Event)]
    assert events[0].phase == "start"
    assert events[-1].phase == "end"
    assert not [t for t in threading.enumerate() if t.name.startswith(("gasmcast-", "camera-"))]


def test_one_broken_source_does_not_stop_the_others(opened, moving_video, tmp_path):
    rubbish = tmp_path / "rubbish.mp4"
    rubbish.write_bytes(b"\0" * 5000)
    sink = Kept()
    session = Session(opened[0], LiveConfig(), [sink])
    session.add(FileSource(rubbish, "bad"))
    session.add(FileSource(moving_video, "good"))
    errors = session.run()
    assert [type(e) for e in errors] == [SourceError]
    assert sum(isinstance(r, Decision) and r.camera == "good" for r in sink.items) == 9
    assert session.pipeline.lanes["bad"].state == "failed"


def test_a_stage_that_fails_ends_the_run_with_its_error(opened, moving_video):
    class Broken:
        inputs, outputs = opened[0].head.inputs, opened[0].head.outputs

        def run(self, feeds):
            raise ZeroDivisionError("bug")

        def describe(self):
            return ""

    from dataclasses import replace

    sink = Kept()
    session = Session(replace(opened[0], head=Broken()), LiveConfig(), [sink])
    session.add(FileSource(moving_video, "m"))
    with pytest.raises(ZeroDivisionError):
        session.run()
    assert sink.closed


def test_a_stage_that_hangs_is_given_up_and_started_anew(opened, moving_video):
    from dataclasses import replace

    free = threading.Event()

    class Hangs:
        inputs, outputs = opened[0].encoder.inputs, opened[0].encoder.outputs
        calls = 0

        def run(self, feeds):
            Hangs.calls += 1
            if Hangs.calls == 6:
                free.wait(30)
            return opened[0].encoder.run(feeds)

        def describe(self):
            return ""

    sink = Kept()
    model = replace(opened[0], encoder=Hangs(), reopen=lambda: opened[0])
    session = Session(model, LiveConfig(), [sink])
    session.health.patience_s = 1.0
    session.add(FileSource(moving_video, "m"))
    assert session.run() == []
    free.set()
    assert any("hung and was started anew" in r.text for r in sink.items if isinstance(r, Notice))
    times = [r.time_s for r in sink.items if isinstance(r, Decision)]
    assert times == [2.0, 2.5, 5.0, 5.5, 6.0]  # segment 6 is lost, and no window spans the hole


TORCHLESS = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'timm', 'onnx', 'onnxscript', 'av', 'matplotlib'):
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Blocker())
import importlib, pathlib
import gasmcast.cli, gasmcast.runtime
root = pathlib.Path(gasmcast.runtime.__file__).parent
for file in sorted(root.rglob('*.py')):
    name = '.'.join(('gasmcast', 'runtime', *file.relative_to(root).with_suffix('').parts)).removesuffix('.__init__')
    importlib.import_module(name)
sys.argv = ['gasmcast', 'live', sys.argv[1], '--bundle', sys.argv[2], '--jsonl', '-', '--threads', '1']
gasmcast.cli.main()
"""


def test_the_runtime_decides_where_torch_onnx_and_timm_cannot_be_imported(tiny_bundle, moving_video):
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, str(moving_video), str(tiny_bundle)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds.count("decision") == 9
    assert "openvino" in done.stderr
