"""`gasmcast classify` on worker processes: each input once, whatever is killed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast import classify
from gasmcast.archive.video_labeler import VideoLabeler
from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import open_model

pytest.importorskip("pyarrow")


def start(archive, bundle, out, *words):
    command = [sys.executable, "-m", "gasmcast", "classify", str(archive), "--bundle", str(bundle)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--workers", "1", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(out, count):
    """Wait until an output folder has this many record files."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(list(out.glob("records/*/*.parquet"))) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the run makes no progress")


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_of(pid):
    """Return the worker process among the children; the other one tracks resources."""
    for child in children_of(pid):
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            return child
    raise AssertionError("there is no worker")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_killed_processes_lose_nothing_and_repeat_nothing(
    tiny_archive, tiny_bundle, tmp_path, inputs_of
):
    out = tmp_path / "out"
    # Twice as a whole, then only its worker.
    for done in (3, 9):
        run = start(tiny_archive, tiny_bundle, out)
        wait_for(out, done)
        run.send_signal(signal.SIGKILL)
        run.communicate()

    run = start(tiny_archive, tiny_bundle, out, "--json")
    wait_for(out, 15)
    os.kill(worker_of(run.pid), signal.SIGKILL)
    printed, errors = run.communicate()
    assert run.returncode == 0, errors
    result = json.loads(printed)

    assert result["failed"] == 0
    assert 0 < result["present"] < 40
    assert result["present"] + result["labeled"] == 40
    videos = {str(path): 1 for path in tiny_archive.glob("*.avi")}
    assert inputs_of(out) == videos
    assert not list(out.rglob(".*.parquet"))


def test_sigterm_ends_the_run_and_its_workers(tiny_archive, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    run = start(tiny_archive, tiny_bundle, out)
    wait_for(out, 2)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "The same command continues." in errors
    assert not list(out.rglob(".*.parquet"))


def test_bad_files_are_listed_and_tried_again_when_asked(
    tiny_archive, tiny_bundle, tmp_path, inputs_of, failed_of
):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for name in ("a.avi", "b.avi"):
        shutil.copy(tiny_archive / "000.avi", folder / name)
    (folder / "torn.mp4").write_bytes(b"no video")
    (folder / "list.csv").write_text("path\na.avi\ngone.mp4\n")
    arguments = {"bundle": tiny_bundle, "out": out, "workers": 1}

    result = classify([folder, folder / "list.csv"], **arguments)
    assert (result.inputs, result.labeled, result.failed, bool(result)) == (4, 2, 2, False)
    reasons = failed_of(out)
    assert set(reasons) == {str(folder / "torn.mp4"), str(folder / "gone.mp4")}
    assert all(inputs_of(out)[name] == 1 for name in reasons)
    assert "2 failed" in str(result)

    # A damaged record file counts as missing; a failure stays until it is retried.
    (record,) = out.glob("records/*/a-*.parquet")
    record.write_bytes(record.read_bytes()[:-20])
    shutil.copy(folder / "a.avi", folder / "gone.mp4")
    again = classify([folder, folder / "list.csv"], **arguments)
    assert (again.labeled, again.present, again.failed) == (1, 3, 2)
    last = classify([folder, folder / "list.csv"], **arguments, retry=True)
    assert (last.labeled, last.present, last.failed) == (1, 2, 1)
    assert set(inputs_of(out).values()) == {1}


def test_a_folder_of_another_run_is_refused(tiny_archive, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    video = tiny_archive / "000.avi"
    classify(video, bundle=tiny_bundle, out=out, workers=1)
    other = tmp_path / "other.gasm"
    shutil.copytree(tiny_bundle, other)
    tree = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(tree | {"created": "2026-02-02T00:00:00Z"}))

    with pytest.raises(UsageError, match="was written with bundle"):
        classify(video, bundle=other, out=out)
    with pytest.raises(UsageError, match="was written with settings"):
        classify(video, bundle=tiny_bundle, out=out, settings={"on": 0.9})
    with pytest.raises(UsageError, match="no output of `gasmcast classify`"):
        classify(video, bundle=tiny_bundle, out=tiny_archive)
    with pytest.raises(MachineError, match="cannot be used here"):
        classify(video, bundle=tiny_bundle, out=out, engine="tensorrt")
    # The refused runs left the folder as it was.
    assert classify(video, bundle=tiny_bundle, out=out).present == 1


def test_two_runs_cannot_write_into_one_folder(tiny_archive, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    run = start(tiny_archive, tiny_bundle, out)
    try:
        wait_for(out, 1)
        with pytest.raises(UsageError, match="Another `gasmcast classify`"):
            classify(tiny_archive / "000.avi", bundle=tiny_bundle, out=out)
    finally:
        run.terminate()
        run.communicate()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_stays_flat_over_many_files(tiny_bundle, tmp_path):
    """One process labels 150 videos of five pictures of 1.4 MB; what it keeps must be near nothing.

    When pictures waited for Python's collector of cycles, it grew by more than 100 MB.
    """
    video = tmp_path / "000.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (1280, 720))
    for level in range(5):
        writer.write(np.full((720, 1280, 3), 40 * level, np.uint8))
    writer.release()

    labeler = VideoLabeler(open_model(tiny_bundle, threads=1).model, LiveConfig())
    resident_mb = []
    for number in range(1, 151):
        link = tmp_path / f"{number:03d}.avi"
        link.hardlink_to(video)
        labeler.label(str(link), lambda _: None)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident_mb.append(pages * resource.getpagesize() / 1e6)
    labeler.close()

    # The first files warm up; the largest of all, so that a sawtooth is seen.
    assert max(resident_mb[5:]) - resident_mb[5] < 80
    assert resident_mb[149] - resident_mb[49] < 20
