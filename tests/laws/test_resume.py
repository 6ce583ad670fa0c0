"""Law: a run that was killed and resumed ends with the weights of one that was not.

They are equal bit for bit on the CPU.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gasmcast.labels import Labels
from gasmcast.tensorfile import read_tensors
from gasmcast.training.loop import train
from gasmcast.training.resume.state_file import load_state

SCRIPT = Path(__file__).with_name("fake_run.py")
SETTINGS = {"train__epochs": 3, "train__ema": 0.9, "train__checkpoint_minutes": 1e-6}
MIXED = {
    "augment__mixup": 0.8,
    "augment__cutmix": 1.0,
    "train__workers": 1,
}  # what is drawn for each batch, and a worker that runs ahead


def _train(fake, folder: Path, resume: bool = False, data: Path | None = None, **settings):
    config = fake.tiny_config(**SETTINGS, **settings)
    made = (fake.FakeClips(config), fake.FakeClips(config, 9, seed=1, augment=False))
    clips, validation = fake.decode(config, data) if data else made
    return train(config, clips, validation, Labels(fake.CLASSES), folder, resume=resume)


def _start(folder: Path, *words: str, **more) -> subprocess.Popen:
    settings = [
        word
        for name, value in {**SETTINGS, **more}.items()
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), *settings, *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _updates(folder: Path) -> int:
    state = load_state(folder)
    return state.record["progress"]["updates"] if state else 0


def _wait(process: subprocess.Popen, folder: Path, updates: int) -> None:
    limit = time.monotonic() + 120
    while _updates(folder) < updates:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < limit
        time.sleep(0.05)


def _same(ours: Path, theirs: Path) -> None:
    for name in ("last.safetensors", "best.safetensors", "frozen.safetensors"):
        a, _ = read_tensors(ours / name)
        b, _ = read_tensors(theirs / name)
        assert a.keys() == b.keys()
        assert [key for key in a if not a[key].equal(b[key])] == []
    a, b = load_state(ours), load_state(theirs)
    assert [key for key in a.tensors if not a.tensors[key].equal(b.tensors[key])] == []
    # The figures too; speeds are of the clock.
    timed = {"clips_per_s", "wait_share", "hours"}
    rows = [
        [
            {k: v for k, v in row.items() if k not in timed}
            for row in state.record["progress"]["history"]
        ]
        for state in (a, b)
    ]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def whole(fake, tmp_path_factory):
    """The run that nothing disturbed."""
    return _undisturbed(fake, tmp_path_factory.mktemp("whole") / "run")


def _undisturbed(fake, folder: Path, **more) -> Path:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    _train(fake, folder, **more)
    torch.set_num_threads(before)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("more", [{}, MIXED], ids=["plain", "mixed, with a worker"])
def test_killed_at_any_moment(fake, whole, tmp_path, one_thread, more):
    folder = tmp_path / "run"
    if more:
        whole = _undisturbed(fake, tmp_path / "whole", **more)
    for moment, flags in ((4, ()), (11, ("--resume",))):
        process = _start(folder, *flags, "--slow", "0.02", **more)
        _wait(process, folder, moment)
        process.kill()
        process.communicate()
    assert _updates(folder) < _updates(whole) == 18
    assert not (folder / "summary.json").exists()
    _train(fake, folder, resume=True, **more)
    _same(folder, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_while_a_worker_decodes(fake, tiny_set, tmp_path, one_thread):
    """Video files, cropped, jittered and mixed."""
    whole = _undisturbed(fake, tmp_path / "whole", data=tiny_set, **MIXED)
    folder = tmp_path / "run"
    process = _start(folder, "--data", str(tiny_set), **MIXED)
    _wait(process, folder, 5)
    process.kill()
    process.communicate()
    assert _updates(folder) < _updates(whole) == 12
    _train(fake, folder, resume=True, data=tiny_set, **MIXED)
    _same(folder, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_asked_to_stop(fake, whole, tmp_path, one_thread):
    folder = tmp_path / "run"
    process = _start(folder, "--slow", "0.02")
    _wait(process, folder, 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "SIGTERM" in output
    assert 2 <= _updates(folder) < 18
    # The newest state is torn on top of it: the one before it serves.
    state = folder / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    _train(fake, folder, resume=True)
    _same(folder, whole)


def test_resuming_a_finished_run_changes_nothing(fake, whole, tmp_path, one_thread):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    _train(fake, folder, resume=True)
    assert _updates(folder) == _updates(whole)
    _same(folder, whole)
