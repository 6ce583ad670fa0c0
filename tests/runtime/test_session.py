from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest

from gasmcast.errors import GateError, MachineError, SourceError, StageError, UsageError
from gasmcast.runtime.camera.backlog import Mark, PendingItem
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera_list import CameraList
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.recording.recorder import Recorder
from gasmcast.runtime.recording.replay_decisions import replay
from gasmcast.runtime.records import Decision, Event, Notice, Stats
from gasmcast.runtime.session import Session
from gasmcast.runtime.sinks.queue import QueuedSink
from gasmcast.runtime.sources.demo import DemoSource
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.sources.replay_source import ReplaySource
from gasmcast.runtime.streaming_model import open_model


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.01)


class Wrapped:
    """Engine that forwards to another one."""

    def __init__(self, engine):
        self.engine, self.inputs, self.outputs, self.calls = (
            engine,
            engine.inputs,
            engine.outputs,
            0,
        )

    def run(self, feeds):
        return self.engine.run(feeds)

    def describe(self):
        return "wrapped"


class Kept:
    """Sink that keeps all records, and the times of all frames."""

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
    recorder = Recorder(path, opened[0], LiveConfig(on=0.3, off=0.2), opened[1])
    sink = Kept()
    session = Session(opened[0], LiveConfig(on=0.3, off=0.2), [sink], recorder=recorder)
    session.add(FileSource(moving_video, "m"), recorded_as=str(moving_video))
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
            assert (
                newest - 1 / 8 <= item[1] + 1e-6
            )  # the last slot of a window is one eighth before its end
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
    assert any("were recorded" in sentence for sentence in result.differences)


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
    assert "differs in" in result.differences[0]
    from gasmcast.commands.replay import replay as replay_verb

    with pytest.raises(GateError):
        replay_verb(path, None, path.with_suffix(".out"))


def test_a_torn_last_line_is_forgiven_and_rubbish_is_not(recording, tmp_path):
    path, _ = recording
    text = path.read_text()
    path.write_text(text[: text.rindex('{"is":"record"') + 20])
    replay(path, lambda record: None)
    for rest in ("", text[:40]):
        path.write_text(rest)
        with pytest.raises(UsageError, match=r"is empty|not a recording"):
            replay(path, lambda record: None)
        with pytest.raises(SourceError, match=r"is empty|not a recording"):
            next(ReplaySource(path, "r").frames())
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


def test_a_recording_whose_frames_alone_would_tell_something_else_is_no_source(recording):
    path, _ = recording
    whole = path.read_text()
    for cause, refused in (("late", True), ("turn", True), ("hop", False), ("disorder", False)):
        path.write_text(
            whole + json.dumps({"is": "drop", "camera": "m", "cause": cause, "segments": 1}) + "\n"
        )
        if refused:
            with pytest.raises(SourceError, match=r"has holes.* gasmcast replay .*run\.jsonl"):
                next(ReplaySource(path, "m").frames())
        else:
            assert next(ReplaySource(path, "m").frames()).stamp_s == 0.0
    path.write_text(whole + '{"is":"lost","lines":3}\n')
    with pytest.raises(SourceError, match="has holes"):
        next(ReplaySource(path, "m").frames())


def test_a_recording_of_a_part_of_the_picture_says_so_and_is_no_source(
    opened, moving_video, tmp_path
):
    cameras, path = tmp_path / "cameras.yaml", tmp_path / "run.jsonl"
    cameras.write_text(
        f"cameras: [{{name: m, source: '{moving_video}', "
        "region: [0, 0, 0.5, 1], mask: [[[0, 0], [1, 0], [1, 1]]]}]"
    )
    session = Session(
        opened[0], LiveConfig(), [], recorder=Recorder(path, opened[0], LiveConfig(), opened[1])
    )
    CameraList([f"@{cameras}"], LiveConfig()).fill(session)
    assert session.run() == []
    camera = json.loads(path.read_text().splitlines()[1])
    assert (camera["region"], camera["mask"]) == (
        [0.0, 0.0, 0.5, 1.0],
        [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]],
    )
    assert replay(path, lambda record: None)
    with pytest.raises(SourceError, match=r"a part of the picture \(region and mask\)"):
        next(ReplaySource(path, "m").frames())


class Endless:
    """Live source that ends when it is closed."""

    live = reconnects = True

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


def test_the_totals_of_a_run_have_those_of_sources_that_left(opened, moving_video):
    session = Session(opened[0], LiveConfig(), [])
    session.pipeline.start()
    session.cameras.start()
    for _ in range(2):  # the second has the name of the first
        session.add(FileSource(moving_video, "m"))
        assert session.pipeline.wait(60.0)
    assert session.pipeline.totals() == (2, 18)
    assert session.remove("m")
    assert session.pipeline.totals() == (2, 18)
    session.close()


def test_a_run_without_a_source_waits_for_cameras_to_join(opened, moving_video):
    sink = Kept()
    session = Session(opened[0], LiveConfig(), [sink])
    threading.Timer(0.5, session.add, [FileSource(moving_video, "m")]).start()
    threading.Timer(4.0, session.stop).start()
    started = time.monotonic()
    assert session.run(open_ended=True) == []
    assert time.monotonic() - started >= 3.5
    assert [r for r in sink.items if isinstance(r, Decision)]


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


def test_a_file_at_its_own_pace_ends_the_session_and_a_broken_one_is_its_error(
    opened, short_video, tmp_path
):
    sink, rubbish = Kept(), tmp_path / "rubbish.mp4"
    rubbish.write_bytes(b"\0" * 5000)
    session = Session(opened[0], LiveConfig(), [sink])
    session.add(FileSource(short_video, "m", realtime=True))
    session.add(FileSource(rubbish, "bad", realtime=True))
    begun = time.monotonic()
    errors = session.run(20.0)
    assert 2.0 < time.monotonic() - begun < 10.0
    assert [type(error) for error in errors] == [SourceError]
    assert sum(isinstance(r, Decision) and r.camera == "m" for r in sink.items) >= 1
    assert [
        r.text
        for r in sink.items
        if isinstance(r, Notice) and r.what == "state" and "reconnecting" in r.text
    ] == []
    assert not any(isinstance(r, Notice) and r.what == "gap" for r in sink.items)


def test_a_silence_longer_than_the_settings_say_breaks_the_window(opened):
    class Pauses(Endless):
        reconnects = False

        def frames(self):
            for number in range(40):
                yield Frame(
                    number / 20 + (3.0 if number >= 20 else 0.0),
                    time.monotonic(),
                    np.zeros((48, 64, 3), np.uint8),
                )

    for gap_s, gaps in ((2.0, 1), (4.0, 0)):
        sink = Kept()
        session = Session(opened[0], LiveConfig(gap_s=gap_s), [sink])
        session.add(Pauses("cam"))
        assert session.run(20.0) == []
        assert sum(isinstance(r, Notice) and r.what == "gap" for r in sink.items) == gaps


def test_a_camera_too_slow_for_any_segment_is_told_of_once(opened):
    """Its frames are further apart than `gap_s`, so no window can ever be filled."""

    class Slow(Endless):
        reconnects = False

        def frames(self):
            for number in range(12):
                yield Frame(3.0 * number, time.monotonic(), np.zeros((48, 64, 3), np.uint8))

    sink = Kept()
    session = Session(opened[0], LiveConfig(), [sink])
    session.add(Slow("cam"))
    assert session.run(20.0) == []
    notices = [r.text for r in sink.items if isinstance(r, Notice) and r.what == "under_delivery"]
    assert len(notices) == 1
    assert notices[0].startswith(
        "cam filled no segment between its last 5 gaps: its frames are more than 2 s apart"
    )


def test_a_stage_that_fails_ends_the_run_with_its_error(opened, moving_video):
    class Broken:
        inputs, outputs = opened[0].head.inputs, opened[0].head.outputs

        def run(self, feeds):
            raise ZeroDivisionError("bug")

        def describe(self):
            return ""

    sink = Kept()
    session = Session(replace(opened[0], head=Broken()), LiveConfig(), [sink])
    session.add(FileSource(moving_video, "m"))
    with pytest.raises(ZeroDivisionError):
        session.run()
    assert sink.closed


def test_a_stage_that_hangs_is_given_up_and_started_anew(opened, moving_video):
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
    assert any("hung and was restarted" in r.text for r in sink.items if isinstance(r, Notice))
    times = [r.time_s for r in sink.items if isinstance(r, Decision)]
    assert times == [2.0, 2.5, 5.0, 5.5, 6.0]  # segment 6 is lost, and no window spans the hole
    assert session.pipeline.lanes["m"].drops == {"restart": 1, "hole": 3}


@pytest.mark.parametrize(("encode_s", "patience_s"), [(0.1, 10.0), (3.0, 60.0)])
def test_a_slow_machine_is_given_time(opened, encode_s, patience_s):
    assert (
        Session(
            opened[0], LiveConfig(batch=4), [], capacity=Capacity(encode_s, 0.01)
        ).health.patience_s
        == patience_s
    )


def test_a_slow_sink_that_a_file_waits_for_is_no_stage_that_hangs(opened, moving_video):
    class Slow(Kept):
        def write(self, record):
            if isinstance(record, Decision):
                time.sleep(0.7)
            super().write(record)

    slow = Slow()
    session = Session(
        opened[0], LiveConfig(hop=3), [QueuedSink("slow", lambda: slow, room=1, lossless={"m"})]
    )
    session.health.patience_s = 0.5
    session.add(FileSource(moving_video, "m"))
    assert session.run() == []
    assert [r.time_s for r in slow.items if isinstance(r, Decision)] == [2.0, 3.5, 5.0]
    assert [r.text for r in slow.items if isinstance(r, Notice) and r.what == "error"] == []


def test_a_sink_that_a_file_waits_for_holds_up_no_camera(opened, moving_video):
    free = threading.Event()

    class Stuck(Kept):
        def write(self, record):
            if isinstance(record, Decision) and record.camera == "m":
                free.wait(20)
            super().write(record)

    stuck, kept = Stuck(), Kept()
    session = Session(
        opened[0], LiveConfig(), [QueuedSink("stuck", lambda: stuck, room=1, lossless={"m"}), kept]
    )
    session.add(FileSource(moving_video, "m"))
    session.add(DemoSource("cam"))

    def decided(camera):
        return [r.time_s for r in kept.items if isinstance(r, Decision) and r.camera == camera]

    def watch():
        until(lambda: decided("cam") and max(decided("cam")) > 6.0)
        seen.extend(decided("m"))
        free.set()
        until(
            lambda: (
                len([r for r in stuck.items if isinstance(r, Decision) and r.camera == "m"]) == 9
            )
        )
        session.stop()

    seen: list[float] = []
    watcher = threading.Thread(target=watch)
    watcher.start()
    assert session.run(30.0) == []
    watcher.join()
    assert 0 < len(seen) < 9  # the file waited for the sink
    assert session.pipeline.lanes["m"].drops == {}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_left_out_and_counted(opened, moving_video, value):
    class Fails(Wrapped):
        def run(self, feeds):
            self.calls += 1
            out = super().run(feeds)
            if self.calls == 3:
                out["logits"][:, 1] = value
            return out

    sink = Kept()
    session = Session(
        replace(opened[0], head=Fails(opened[0].head)), LiveConfig(on=0.05, off=0.0), [sink]
    )
    session.add(FileSource(moving_video, "m"))
    assert session.run() == []
    decisions = [r for r in sink.items if isinstance(r, Decision)]
    assert [r.time_s for r in decisions] == [2.0, 2.5, *np.arange(3.5, 6.5, 0.5)]
    assert np.isfinite([r.p for r in decisions]).all()
    assert session.pipeline.lanes["m"].drops == {"not_finite": 1}


def test_a_head_that_comes_back_after_it_was_given_up_decides_nothing(opened, moving_video):
    free, back = threading.Event(), threading.Event()

    class Hangs(Wrapped):
        def run(self, feeds):
            self.calls += 1
            if self.calls == 3:
                free.wait(30)
                threading.Timer(0.2, back.set).start()
            return super().run(feeds)

    class Frees(Kept):
        def write(self, record):
            super().write(record)
            if isinstance(record, Notice) and "hung" in record.text:
                free.set()
                back.wait(5)

    sink = Frees()
    session = Session(
        replace(opened[0], head=Hangs(opened[0].head), reopen=lambda: opened[0]),
        LiveConfig(),
        [sink],
    )
    session.health.patience_s = 1.0
    session.add(FileSource(moving_video, "m"))
    assert session.run() == []
    assert [r.time_s for r in sink.items if isinstance(r, Decision)] == [
        2.0,
        2.5,
        *np.arange(3.5, 6.5, 0.5),
    ]
    assert session.pipeline.lanes["m"].drops == {"restart": 1}


def test_an_end_that_a_hanging_encoder_holds_is_not_lost(opened):
    records = []
    pipeline = Pipeline(replace(opened[0], reopen=None), LiveConfig(), records.append)
    ended, goes_on = pipeline.add("ended", live=False), pipeline.add("goes on", live=False)
    segment = Segment(
        0, 0, 0.0, 0.5, np.zeros(opened[0].spec.pair_shape, np.uint8), (0.0,), 0.0, 0.0
    )
    held = [
        (ended, PendingItem(Mark("gap"), 0.0)),
        (ended, PendingItem(Mark("end"), 0.0)),
        (goes_on, PendingItem(segment, 0.0)),
    ]
    pipeline.start()
    pipeline._workers.begin("encode", 0.0, held)  # as if the thread hung
    pipeline.restart("encode")
    until(lambda: ended.ended)
    assert goes_on.drops == {"restart": 1}
    assert pipeline.stop()


@pytest.mark.parametrize("part", ["encoder", "head"])
def test_what_is_open_ends_also_when_a_stage_fails(opened, moving_video, part):
    class Fails(Wrapped):
        def run(self, feeds):
            self.calls += 1
            if self.calls == 8:
                raise MachineError("the device is lost")
            return super().run(feeds)

    sink = Kept()
    session = Session(
        replace(opened[0], **{part: Fails(getattr(opened[0], part))}),
        LiveConfig(on=0.05, off=0.0),
        [sink],
    )
    session.add(FileSource(moving_video, "m"))
    with pytest.raises(StageError):
        session.run()
    phases = [r.phase for r in sink.items if isinstance(r, Event) and r.phase != "update"]
    assert phases == ["start", "end"] * (len(phases) // 2)
    assert phases


def test_an_end_has_one_deadline_and_ends_events_whatever_hangs(opened, monkeypatch, caplog):
    free = threading.Event()

    class Hangs(Wrapped):
        def run(self, feeds):
            self.calls += 1
            if self.calls == 6:
                session.stop()
                free.wait(20)
            return super().run(feeds)

    class Stuck(Kept):
        def write(self, record):
            free.wait(20)

    for name, seconds in (("_CLOSE_S", 1.0), ("_SINKS_S", 0.3), ("_STAGES_S", 0.3)):
        monkeypatch.setattr(f"gasmcast.runtime.session.{name}", seconds)
    sink = Kept()
    model = replace(opened[0], encoder=Hangs(opened[0].encoder))
    session = Session(
        model,
        LiveConfig(on=0.05, off=0.0),
        [sink, QueuedSink("stuck", Stuck), QueuedSink("stuck too", Stuck)],
    )
    session.add(DemoSource("cam", fps=60))
    began = []
    session.cameras.stop, stop = (
        lambda: (began.append(time.monotonic()), stop()),
        session.cameras.stop,
    )
    assert session.run() == []
    assert (
        time.monotonic() - began[0] < 4.0
    )  # on a busy machine; the steps alone would add up to a minute
    free.set()
    phases = [r.phase for r in sink.items if isinstance(r, Event) and r.phase != "update"]
    assert phases == ["start", "end"]
    assert session.pipeline.lanes["cam"].ended
    assert "not all of cam was decided" in caplog.text
    assert re.search(r"sink stuck did not write all records: \d+ closed", caplog.text)
    assert sink.closed


def test_a_source_that_is_removed_is_forgotten_everywhere(opened):
    sink = Kept()
    session = Session(opened[0], LiveConfig(on=0.05, off=0.0), [sink])
    session.add(Endless("stays"))
    session.add(Endless("guest", fps=60))
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()
    until(lambda: any(isinstance(r, Decision) and r.camera == "guest" for r in sink.items))
    guest = weakref.ref(session.pipeline.lanes["guest"])
    assert session.remove("guest")
    assert ("ended", list(session.pipeline.lanes), session.cameras.names()) == (
        guest().state,
        ["stays"],
        ["stays"],
    )
    events = [r.phase for r in sink.items if isinstance(r, Event) and r.camera == "guest"]
    assert (events[0], events[-1]) == ("start", "end")
    assert set(session.health._troubles) == {"camera stays"}
    with pytest.raises(UsageError, match="no camera"):
        session.remove("guest")
    session.stop()
    thread.join(20)
    session.pipeline.add("guest", live=True)  # the name is free again
    gc.collect()
    assert guest() is None


TORCHLESS = """
import sys
BLOCKED = 'torch', 'torchvision', 'timm', 'onnx', 'onnxscript', 'matplotlib'
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in BLOCKED:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Blocker())
import importlib, pathlib
import gasmcast.cli, gasmcast.runtime
root = pathlib.Path(gasmcast.runtime.__file__).parent
for file in sorted(root.rglob('*.py')):
    parts = file.relative_to(root).with_suffix('').parts
    importlib.import_module('.'.join(('gasmcast', 'runtime', *parts)).removesuffix('.__init__'))
video, bundle = sys.argv[1:]
sys.argv = ['gasmcast', 'live', video, '--bundle', bundle, '--jsonl', '-', '--threads', '1']
gasmcast.cli.main()
"""


def test_the_runtime_decides_where_torch_onnx_and_timm_cannot_be_imported(
    tiny_bundle, moving_video
):
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, str(moving_video), str(tiny_bundle)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds.count("decision") == 9
    assert "openvino" in done.stderr
