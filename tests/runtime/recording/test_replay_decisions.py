"""Recordings from outside: replayed, or refused in one sentence."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.lines import RECORDING_VERSION
from gasmcast.runtime.recording.replay_decisions import replay
from gasmcast.runtime.sinks.jsonl import JsonlSink
from gasmcast.spec import ClipSpec


def as_lines(records):
    return [{"is": "record", **json.loads(json.dumps(record.to_json()))} for record in records]


def good_lines():
    """Return the lines of a small recording, with an event that starts and ends."""
    labels, config = ["push", "hold"], LiveConfig(smooth_s=0.5)
    head = {
        "is": "run",
        "version": RECORDING_VERSION,
        "gasmcast": "0",
        "engine": "tiny",
        "labels": labels,
        "spec": ClipSpec().model_dump(),
        "temperature": 1.0,
        "no_action": 1.0,
        "config": config.model_dump(mode="json"),
    }
    lines = [
        head,
        {"is": "camera", "camera": "a", "source": "a.mp4", "live": False, "config": None},
    ]
    decider = Decider("a", LabelView(Labels(labels), config), config, 1.0, 1.0)
    for number, row in enumerate([[0.5, 0.0], [3.0, 0.0], [5.0, 0.0], [0.0, 4.0]]):
        window = [0.5 * number, 4 + 0.5 * number]
        lines.append(
            {"is": "segment", "camera": "a", "run": 0, "index": number, "stamps": [0.0, 0.1]}
        )
        fields = {"camera": "a", "window": window, "wall_s": 1.7e9, "latency_ms": {"total": 1.0}}
        lines.append({"is": "window", **fields, "logits": row})
        logits = np.array(row, np.float32)
        lines += as_lines(decider.update(tuple(window), logits, 1.7e9, {"total": 1.0}))
    lines.append({"is": "mark", "camera": "a", "what": "end", "text": "", "wall_s": 1.7e9})
    lines += as_lines(decider.flush(1.7e9))
    lines.append({"is": "drop", "camera": "a", "cause": "late", "segments": 1})
    return lines


LINES = good_lines()
SOME = st.sampled_from([0, -1, 1, 10**400, 1e308, float("nan"), float("inf"), 10**30, 1e-320])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), SOME, st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def play(path, tmp_path):
    sink = JsonlSink(tmp_path / "out.jsonl")
    try:
        return replay(path, sink.write)
    finally:
        sink.close()


def test_the_recording_as_written_replays(tmp_path):
    result = play(write(tmp_path / "run.jsonl", LINES), tmp_path)
    assert result, result.differences
    assert (result.decisions, result.events) == (4, 5)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_an_edited_recording_is_no_traceback(tmp_path, data):
    lines = copy.deepcopy(LINES)
    for _ in range(data.draw(st.integers(1, 2))):
        number = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["delete", "line", "value", "key", "nested"]))
        line = lines[number]
        if change == "line" or not isinstance(line, dict) or not line:
            lines[number] = data.draw(VALUES)
            continue
        key = data.draw(st.sampled_from(sorted(line)))
        if change == "delete":
            lines.pop(number)
        elif change == "value":
            line[key] = data.draw(VALUES)
        elif change == "key":
            line.pop(key)
        elif isinstance(line[key], list) and line[key]:
            line[key][0] = data.draw(VALUES)
        elif isinstance(line[key], dict) and line[key]:
            line[key][next(iter(line[key]))] = data.draw(VALUES)
        if not lines:
            break
    refusal = f"nothing to refuse in {tmp_path}"
    try:
        play(write(tmp_path / "run.jsonl", lines), tmp_path)
    except UsageError as error:
        refusal = str(error)
    assert str(tmp_path) in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"{}\n", "does not begin with the head"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b'{"is":"run","version":1}\n', "version 1, and this gasmcast reads 2"),
        (b'{"is":"run","version":2}\n', "line 1: labels: Field required"),
        (b"9" * 5000 + b"\n", "not a recording"),
    ],
)
def test_what_is_no_recording_is_one_sentence(tmp_path, content, says):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        replay(path, lambda record: None)


@pytest.mark.parametrize(
    ("number", "fields", "says"),
    [
        (0, {"labels": ["a", "\ud800"]}, "line 1: it has a text that is not Unicode"),
        (0, {"labels": ["a", "a"]}, "not unique"),
        (0, {"temperature": 0}, "temperature"),
        (1, {"camera": "b"}, "no line introduces the camera 'a'"),
        (3, {"logits": [1.0]}, "one finite number for each of the 2 labels"),
        (3, {"logits": [1e300, 0.0]}, "one finite number"),
        (3, {"wall_s": 1e15}, "line 4: wall_s"),
        (3, {"window": [0.0]}, "line 4: window"),
        (3, {"is": "windows"}, "line 4: its kind is unknown"),
        (4, {"time_s": "x"}, "line 5: time_s"),
    ],
)
def test_an_edit_is_named_with_its_line(tmp_path, number, fields, says):
    lines = copy.deepcopy(LINES)
    lines[number].update(fields)
    with pytest.raises(UsageError, match=says):
        replay(write(tmp_path / "run.jsonl", lines), lambda record: None)
