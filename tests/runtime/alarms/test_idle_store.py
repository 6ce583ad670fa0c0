"""Idle logits on disk: parts, merging, continuation, and files that are not ours."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.errors import UsageError
from gasmcast.runtime.alarms.idle_recorder import IdleRecorder
from gasmcast.runtime.alarms.idle_store import IdleHead, merge_parts, read_idle

HEAD = IdleHead(labels=("a", "b"), precision="fp32", checkpoint_sha256="x", window_s=4.0, hop_s=0.5)


def record(path, windows, *, head=HEAD, first_run=0, part_rows=3):
    recorder = IdleRecorder(path, head, first_run=first_run, part_rows=part_rows)
    recorder.add_camera("door", "rtsp://user:secret@host", True)
    for i in range(windows):
        fields = {"camera": "door", "window": (0.5 * i, 4 + 0.5 * i), "logits": [float(i), 0.0]}
        recorder.trace("window", fields)
    return recorder


def test_what_is_recorded_is_read_without_pictures_and_secrets(tmp_path):
    path = tmp_path / "idle.npz"
    record(path, 8).merge()
    idle = read_idle(path)
    assert idle.logits[:, 0].tolist() == list(range(8))
    assert idle.hours()["door"] == pytest.approx(8 * 0.5 / 3600)
    assert set(np.load(path).files) == {"head", "logits", "time_s", "camera", "run"}
    assert b"secret" not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["idle.npz"]


def test_a_run_that_was_cut_off_loses_only_its_last_part(tmp_path):
    path = tmp_path / "idle.npz"
    record(path, 8)  # neither closed nor merged, as after a power failure
    assert len(read_idle(path)) == 6
    merge_parts(path)
    assert len(read_idle(path)) == 6


def test_a_second_run_continues_and_a_gap_is_not_observed_time(tmp_path):
    path = tmp_path / "idle.npz"
    record(path, 4).merge()
    head = read_idle(path).head
    record(path, 4, head=head, first_run=1).merge()
    idle = read_idle(path)
    assert [len(rows) for rows in idle.runs()] == [4, 4]
    assert idle.hours()["door"] == pytest.approx(8 * 0.5 / 3600)


def test_parts_that_were_merged_before_a_crash_are_not_counted_twice(tmp_path):
    path = tmp_path / "idle.npz"
    record(path, 6).close()
    parts = tmp_path / "idle.npz.parts"
    kept = {part.name: part.read_bytes() for part in parts.iterdir()}
    merge_parts(path)
    parts.mkdir()
    for name, content in kept.items():
        (parts / name).write_bytes(content)
    assert len(read_idle(path)) == 6


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "idle.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as idle logits"):
        read_idle(path)


def test_logits_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "idle.npz"
    recorder = record(path, 1)
    fields = {"camera": "door", "window": (0, 4), "logits": [float("nan"), 0.0]}
    recorder.trace("window", fields)
    recorder.close()
    with pytest.raises(UsageError, match="not finite"):
        read_idle(path)
