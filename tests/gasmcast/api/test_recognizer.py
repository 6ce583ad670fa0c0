"""The public API: results equal those of the command line, and bad input is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

import gasmcast
from gasmcast.errors import SourceError, UsageError
from gasmcast.video.reader import read_frames

QUICK = {"on": 0.34, "off": 0.1, "smooth_s": 0.0}


@pytest.fixture(scope="module")
def recognizer(tiny_bundle):
    return gasmcast.load(tiny_bundle, "onnxruntime", settings=QUICK)


def jsonl_of_live(tiny_bundle, video, tmp_path):
    config = tmp_path / "live.yaml"
    config.write_text("on: 0.34\noff: 0.1\nsmooth_s: 0.0\n")
    command = [sys.executable, "-m", "gasmcast", "live", str(video), "--bundle", str(tiny_bundle)]
    command += ["--engine", "onnxruntime", "--jsonl", "-", "--config", str(config)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [json.loads(line) for line in out.splitlines()]


def comparable(record):
    """The fields of a record that do not depend on the clock on the wall."""
    return {k: v for k, v in record.items() if k not in ("ts", "latency_ms", "kind")}


def as_json(record):
    return comparable(json.loads(json.dumps(record.to_json())))


def test_a_video_gives_the_records_of_live(recognizer, tiny_bundle, moving_video, tmp_path):
    result = recognizer(moving_video)
    lines = jsonl_of_live(tiny_bundle, moving_video, tmp_path)
    assert [as_json(d) for d in result.decisions] == [
        comparable(line) for line in lines if line["kind"] == "decision"
    ]
    assert [as_json(e) for e in result.events] == [
        comparable(line) for line in lines if line["kind"] == "event"
    ]
    assert len(result.decisions) == 9
    assert bool(result) == bool(result.events)
    assert json.dumps(result.to_json())


def test_pushed_frames_give_the_decisions_of_the_file(recognizer, moving_video):
    events = []
    decisions = []
    buffer = None
    with recognizer.stream("moving", on_event=events.append) as stream:
        for stamp, frame in read_frames(moving_video):
            # A capture loop that reuses its buffer must not change what was pushed.
            buffer = np.empty_like(frame) if buffer is None else buffer
            buffer[:] = frame
            decisions += stream.push(buffer, stamp)
        decisions += stream.close()
    whole = recognizer(moving_video)
    assert [as_json(d) for d in decisions] == [as_json(d) for d in whole.decisions]
    assert [as_json(e) for e in events] == [as_json(e) for e in whole.events]


def test_a_window_never_spans_a_silence(recognizer):
    frame = np.zeros((48, 64, 3), np.uint8)
    with recognizer.stream() as stream:
        times = []
        for index in range(30):  # 3 s at 10 fps: a window of 2 s and two hops
            times += [d.time_s for d in stream.push(frame, index / 10)]
        for index in range(30):
            times += [d.time_s for d in stream.push(frame, 20 + index / 10)]
    assert times == [2.0, 2.5, 3.0, 22.0, 22.5, 23.0]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ([[0]], "not list"),
        (np.zeros((8, 8, 3), np.float32), "dtype float32"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
    ],
)
def test_what_is_no_frame_is_refused(recognizer, frame, sentence):
    with recognizer.stream() as stream, pytest.raises(UsageError, match=sentence):
        stream.push(frame, 0.0)


@pytest.mark.parametrize("times", [(1.0, 0.5), (1.0, 1.0), (1.0, float("nan"))])
def test_timestamps_must_increase(recognizer, times):
    frame = np.zeros((8, 8, 3), np.uint8)
    with recognizer.stream() as stream:
        stream.push(frame, times[0])
        with pytest.raises(UsageError, match="timestamp_s"):
            stream.push(frame, times[1])


def test_a_closed_stream_takes_nothing(recognizer):
    stream = recognizer.stream()
    assert stream.close() == []
    assert stream.close() == []
    with pytest.raises(UsageError, match="closed"):
        stream.push(np.zeros((8, 8, 3), np.uint8), 0.0)


def test_what_cannot_be_loaded_is_refused(tiny_bundle, tmp_path):
    with pytest.raises(UsageError, match="manifest"):
        gasmcast.load(tmp_path)
    with pytest.raises(UsageError, match="fp8"):
        gasmcast.load(tiny_bundle, "onnxruntime", "fp8")
    with pytest.raises(UsageError, match="unknown key 'onn'"):
        gasmcast.load(tiny_bundle, settings={"onn": 1})


def test_a_missing_video_is_a_source_error(recognizer, tmp_path):
    with pytest.raises(SourceError):
        recognizer(tmp_path / "none.mp4")


def test_live_yields_the_events_of_the_recognizer(recognizer, tiny_bundle, moving_video):
    events = gasmcast.live(moving_video, bundle=tiny_bundle, engine="onnxruntime", settings=QUICK)
    assert [as_json(e) for e in events] == [as_json(e) for e in recognizer(moving_video).events]
    assert not [t for t in threading.enumerate() if t.name == "gasmcast.live"]


def test_leaving_the_loop_stops_live(tiny_bundle):
    events = gasmcast.live(
        "demo:", bundle=tiny_bundle, engine="onnxruntime", settings=QUICK, duration_s=60
    )
    for event in events:
        assert event.phase == "start"
        break
    events.close()
    assert not [t for t in threading.enumerate() if t.name == "gasmcast.live"]


def test_wrong_sources_of_live_raise_at_once(tiny_bundle, tmp_path):
    with pytest.raises(SourceError):
        gasmcast.live(tmp_path / "none.mp4", bundle=tiny_bundle)
    with pytest.raises(UsageError):
        gasmcast.live("gopher://camera", bundle=tiny_bundle)


def test_the_import_is_lazy_and_the_names_are_listed():
    code = (
        "import sys, gasmcast; assert 'numpy' not in sys.modules, 'numpy'; print(*dir(gasmcast));"
        "gasmcast.load; assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(gasmcast.__all__) <= set(out.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = gasmcast.lode
