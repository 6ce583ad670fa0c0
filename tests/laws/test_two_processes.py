"""Law: two processes equal one process with twice the batch.

Evaluation counts every clip once, however many processes share the work.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.tensorfile import read_tensors
from gasmcast.training.loop import train
from gasmcast.training.resume.state_file import load_state

SCRIPT = Path(__file__).with_name("fake_run.py")
# Random draws differ between processes, so there are none. The seed is 1, because under seed 0 one
# weight of 512 has a gradient of rounding errors only.
QUIET = {"model__dropout": 0.0, "model__drop_path": 0.0, "train__seed": 1}


def _train(fake, folder: Path, **settings):
    config = fake.tiny_config(**QUIET, **settings)
    validation = fake.FakeClips(config, 9, seed=1, augment=False)
    train(config, fake.FakeClips(config), validation, Labels(fake.CLASSES), folder)
    return load_state(folder)


def _close(ours, theirs) -> None:
    for name, tensor in ours.tensors.items():
        if name.startswith(("weights/", "optimizer/")):
            assert torch.allclose(
                tensor.float(), theirs.tensors[name].float(), rtol=1e-4, atol=1e-5
            ), name  # Adam divides noise by noise
    a, b = (state.record["progress"]["history"] for state in (ours, theirs))
    for row, other in zip(a, b, strict=True):
        for figure in ("train_loss", "train_top1", "loss", "top1", "mean_class"):
            assert row[figure] == pytest.approx(other[figure], rel=1e-4), figure


@pytest.fixture(scope="module")
def one(fake, tmp_path_factory):
    return _train(fake, tmp_path_factory.mktemp("one") / "run", train__batch_size=8)


def _two(folder: Path, *words: str, **settings: object) -> str:
    """Train in two gloo processes, and return what they printed."""
    given = {**QUIET, **settings}
    flags = [
        word
        for name, value in given.items()
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    ]
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(SCRIPT),
        str(folder),
        *flags,
        *words,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left [" not in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return the folder of an undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("two") / "run"
    _two(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_gloo_processes(one, two):
    state = load_state(two)
    assert state.record["world"] == 2
    _close(state, one)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_stop_together_and_go_on(two, tmp_path):
    """SIGTERM reaches one of them repeatedly, in epochs of three updates, then in validation."""
    folder = tmp_path / "run"
    assert _two(folder, "--fault", "stop").count("summary 3 SIGTERM\n") == 2
    assert load_state(folder).record["progress"]["updates"] == 3
    output = _two(folder, "--resume", "--fault", "stop-late")
    assert "Resuming at epoch 1, step 3 of 3" in output
    assert output.count("summary 3 SIGTERM\n") == 2
    assert load_state(folder).record["progress"]["history"] == []
    assert _two(folder, "--resume").count("summary 6 \n") == 2
    ours, theirs = (load_state(place).tensors for place in (folder, two))
    assert [name for name in theirs if not theirs[name].equal(ours[name])] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_that_split_the_weights(fake, one, tmp_path):
    """FSDP2 is the same training, and its state is complete.

    A run resumes from it bit for bit, in one process as well.
    """
    folder = tmp_path / "run"
    _two(folder, "--fsdp")
    whole = load_state(folder)
    assert whole.record["world"] == 2
    _close(whole, one)
    last = read_tensors(folder / "last.safetensors")[0]
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    for place in (folder, alone):
        (place / "state.safetensors").unlink()  # back to the state at the end of the first epoch
        assert load_state(place).record["progress"]["updates"] == 3
    assert "Resuming at epoch 1, step 3 of 3" in _two(folder, "--fsdp", "--resume")
    again = read_tensors(folder / "last.safetensors")[0]
    assert [name for name in last if not last[name].equal(again[name])] == []
    config = fake.tiny_config(**QUIET, train__batch_size=8)
    validation = fake.FakeClips(config, 9, seed=1, augment=False)
    train(config, fake.FakeClips(config), validation, Labels(fake.CLASSES), alone, resume=True)
    _close(load_state(alone), one)


def test_two_steps_a_update_are_one_of_twice_the_batch(fake, one, tmp_path):
    state = _train(fake, tmp_path / "run", train__accumulate=2)
    assert state.record["progress"]["updates"] == one.record["progress"]["updates"]
    _close(state, one)


def test_every_clip_counts_once(fake):
    """Shards of several processes, padded to equal numbers of batches, give the same table."""
    from gasmcast.evaluation.predict import predict

    config = fake.tiny_config()
    clips = fake.FakeClips(config, 11, augment=False)

    def run(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1)[:, :3].astype(np.float32)

    whole, labels = predict(run, clips, batch_size=4)
    assert labels.tolist() == clips.labels
    for world in (2, 3, 5, 13):
        parts: list[object] = []

        def gather(part: object, world=world, parts=parts) -> list:
            parts.append(part)
            return [parts[i] if i < len(parts) else parts[0] for i in range(world)]

        for rank in range(world):
            processes = SimpleNamespace(rank=rank, world=world, gather=gather)
            try:
                logits, targets = predict(run, clips, batch_size=2, processes=processes)
            except (KeyError, UsageError):
                assert rank < world - 1  # not all shards are in yet
        assert len({len(part[0]) for part in parts}) == 1
        assert (logits == whole).all()
        assert (targets == labels).all()
