"""Reasons why a run stops, and the files that it leaves."""

import errno
import os
import re
import signal

import numpy as np
import pytest
import torch

from gasmcast.errors import MachineError, UsageError
from gasmcast.evaluation.predict import predict
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import frozen_names, load_checkpoint, read_checkpoint
from gasmcast.tensorfile import TornFileError, read_tensors
from gasmcast.training import checkpoint_schedule
from gasmcast.training.inputs.fit import check_counts
from gasmcast.training.loop import train
from gasmcast.training.resume.state_file import load_state, save_state
from gasmcast.training.run import TrainingRun


def _train(fake, folder, resume=False, fault="", validation=True, **settings):
    config = fake.tiny_config(**settings)
    validation_clips = fake.FakeClips(config, 9, seed=1, augment=False) if validation else None
    return train(
        config,
        fake.FakeClips(config, fault=fault),
        validation_clips,
        Labels(fake.CLASSES),
        folder,
        resume=resume,
    )


def test_only_what_should_train_does(fake, tmp_path):
    _train(fake, tmp_path / "run", train__epochs=1)
    model, config, labels, info = load_checkpoint(tmp_path / "run")
    weights, _ = read_tensors(tmp_path / "run" / "best.safetensors")
    frozen, _ = read_tensors(tmp_path / "run" / "frozen.safetensors")
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable <= weights.keys()
    assert not trainable & frozen.keys()
    assert any(name.endswith("running_mean") for name in frozen)  # BatchNorm of a frozen backbone
    assert any(
        name.endswith("standard.mean") for name in weights
    )  # statistics of the taps belong to the run
    assert frozen.keys() == frozen_names(model)

    torch.manual_seed(config.train.seed)
    from gasmcast.models.model import build_model

    fresh = build_model(config)
    start = fresh.state_dict()
    assert [name for name in frozen if not frozen[name].equal(start[name])] == []  # bit for bit
    # Layers below a zero-initialized branch get no gradient in the first step; after an epoch all
    # have moved.
    assert [name for name in trainable if weights[name].equal(start[name])] == []
    assert info["metrics"]["epoch"] == 1
    # The same weights have the same information under both names.
    assert [
        read_checkpoint(tmp_path / "run" / f"{name}.safetensors")[2]["epoch"]
        for name in ("best", "last")
    ] == [1, 1]
    assert labels.names == fake.CLASSES


@pytest.mark.parametrize("fusion", ["full", "concat", "add", "mul", "late"])
def test_every_fusion_trains_and_comes_back(fake, tmp_path, fusion):
    _train(fake, tmp_path / "run", train__epochs=1, model__fusion=fusion, train__ema=0.9)
    model, config, _, _ = load_checkpoint(tmp_path / "run" / "last.safetensors")
    weights, _ = read_tensors(tmp_path / "run" / "last.safetensors")
    assert config.model.fusion == fusion
    assert all(value.equal(model.state_dict()[name]) for name, value in weights.items())


@pytest.mark.usefixtures("dead_workers")
def test_a_worker_that_dies(fake, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(MachineError, match=r"data worker died.*train\.workers.*--resume"):
        _train(fake, folder, fault="die", train__epochs=2, train__workers=1)
    assert load_state(folder).record["progress"]["updates"] >= 6  # the first epoch is kept
    summary = _train(fake, folder, resume=True, train__epochs=2)
    assert summary["updates"] == 12


@pytest.mark.usefixtures("dead_workers")
def test_a_worker_that_dies_in_an_evaluation(fake):
    """The worker dies while a batch is awaited, or at any other time; nothing can be resumed."""
    clips = fake.FakeClips(fake.tiny_config(), fault="die")

    def run(batch):
        return np.zeros((len(batch), 3), np.float32)

    def struck(batch):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    with pytest.raises(MachineError, match="data worker died") as elsewhere:
        predict(struck, clips)
    clips.set_epoch(1)
    with pytest.raises(MachineError, match="data worker died") as waiting:
        predict(run, clips, workers=1)
    for caught in (elsewhere, waiting):
        assert "use fewer workers" in caught.value.hint
        assert "resume" not in caught.value.hint


def test_no_space_left_stops_with_the_checkpoint_before(fake, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    _train(fake, folder, train__epochs=1)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MachineError, match="No space left"):
            _train(fake, folder, resume=True, train__epochs=2)
    assert load_state(folder).record["progress"]["updates"] == 6
    assert _train(fake, folder, resume=True, train__epochs=2)["updates"] == 12


def test_a_young_state_is_not_written_again_and_an_old_one_is(fake, tmp_path, monkeypatch):
    saved = []
    save = TrainingRun.save
    monkeypatch.setattr(
        TrainingRun, "save", lambda self: (saved.append(self.progress.updates), save(self))
    )
    monkeypatch.setattr(checkpoint_schedule, "RECENT_S", 3600.0)  # however slow this machine is
    _train(fake, tmp_path / "young", train__epochs=3)
    assert saved == [18]  # the last epoch's end always
    saved.clear()
    monkeypatch.setattr(checkpoint_schedule, "RECENT_S", 0.0)
    _train(fake, tmp_path / "old", train__epochs=3)
    assert saved == [6, 12, 18]


def test_a_stop_in_the_validation_loses_nothing(fake, tmp_path):
    class Stopping(fake.FakeClips):
        def __getitem__(self, index):
            os.kill(
                os.getpid(), signal.SIGTERM
            )  # repeatedly, as a scheduler and a launcher together do
            return super().__getitem__(index)

    config = fake.tiny_config(train__epochs=3)
    folder = tmp_path / "run"
    validation_clips = Stopping(config, 9, seed=1, augment=False)
    assert (
        train(config, fake.FakeClips(config), validation_clips, Labels(fake.CLASSES), folder)[
            "stopped"
        ]
        == "SIGTERM"
    )
    assert load_state(folder).record["progress"]["updates"] == 6


def test_averaged_weights_are_the_ones_kept(fake, tmp_path):
    folder = tmp_path / "run"
    _train(fake, folder, train__epochs=1, train__ema=0.5)
    state = load_state(folder)
    weights, _ = read_tensors(folder / "last.safetensors")
    assert state.record["average_updates"] == 6
    name = next(name for name in weights if name.endswith("classifier.weight"))
    assert weights[name].equal(state.tensors[f"average/model.{name}"])
    assert not weights[name].equal(state.tensors[f"weights/{name}"])


def test_mixing_balance_and_stream_losses_run(fake, tmp_path):
    settings = {
        "augment__mixup": 0.8,
        "augment__cutmix": 1.0,
        "train__balanced": True,
        "train__stream_loss": 0.3,
        "train__epochs": 1,
    }
    summary = _train(fake, tmp_path / "run", validation=False, **settings)
    assert summary["checkpoint"] == "last.safetensors"
    assert 0 < summary["train_loss"] < 5
    _, _, info = read_checkpoint(tmp_path / "run")
    assert info["path"].endswith("last.safetensors")


def test_fp16_needs_a_gpu(fake, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MachineError, match="fp16"):
        _train(fake, tmp_path / "run", train__precision="fp16")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [([0, 0, 0, 0], "of one class"), ([0, 1], "fewer than one batch"), ([0, -1, 1, 1], "no label")],
)
def test_sets_that_cannot_be_trained_on(fake, tmp_path, labels, sentence):
    config = fake.tiny_config()
    clips = fake.FakeClips(config)
    clips.labels = labels
    with pytest.raises(UsageError, match=sentence):
        train(config, clips, None, Labels(fake.CLASSES), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("clips", "batch", "accumulate", "world"),
    [(9, 16, 1, 1), (9, 4, 4, 1), (7, 8, 8, 1), (30, 8, 2, 8), (20, 8, 4, 8), (8, 2, 1, 8)],
)
def test_the_hint_for_fewer_clips_than_a_batch_helps(fake, clips, batch, accumulate, world):
    labels = np.arange(clips) % 2
    with pytest.raises(UsageError, match="fewer than one batch") as caught:
        check_counts(
            labels,
            fake.tiny_config(train__batch_size=batch, train__accumulate=accumulate).train,
            world,
        )
    wanted = {"train__batch_size": batch, "train__accumulate": accumulate}
    wanted |= {
        name.replace(".", "__"): int(value)
        for name, value in re.findall(r"--set (train\.\w+)=(\d+)", caught.value.hint)
    }
    check_counts(labels, fake.tiny_config(**wanted).train, world)


def test_fewer_clips_than_processes(fake):
    with pytest.raises(UsageError, match="Use at most 3 processes"):
        check_counts(np.array([0, 1, 0]), fake.tiny_config().train, 8)


def test_resuming_with_other_clips_is_refused(fake, tmp_path, capsys):
    config, folder = fake.tiny_config(train__epochs=1), tmp_path / "run"

    def sets():
        return fake.FakeClips(config), fake.FakeClips(config, 9, seed=1, augment=False)

    def again(clips, validation_clips):
        return train(config, clips, validation_clips, Labels(fake.CLASSES), folder, resume=True)

    train(config, *sets(), Labels(fake.CLASSES), folder)
    before = (folder / "state.safetensors").read_bytes()
    for split in (0, 1):
        for what in ("ids", "labels"):
            changed = sets()
            rows = getattr(changed[split], what)
            rows[0], rows[1] = rows[1], rows[0]
            with pytest.raises(UsageError, match="started with other clips"):
                again(*changed)
    with pytest.raises(UsageError, match="started with other clips"):
        again(sets()[0], None)
    assert (folder / "state.safetensors").read_bytes() == before
    again(*sets())
    assert "not checked" not in capsys.readouterr().out

    state = load_state(folder)
    del state.record["set"]  # as in runs from before clips were recorded
    save_state(folder, state.tensors, state.record)
    again(*sets())
    assert "not checked" in capsys.readouterr().out


def test_a_checkpoint_of_another_architecture(fake, tmp_path):
    from gasmcast.models.checkpoint import fill
    from gasmcast.models.model import GasmCast

    _train(fake, tmp_path / "run", train__epochs=1)
    weights = (
        read_tensors(tmp_path / "run" / "best.safetensors")[0]
        | read_tensors(tmp_path / "run" / "frozen.safetensors")[0]
    )
    wider = fake.tiny_config(model__width=32)
    with pytest.raises(UsageError, match="another architecture"):
        fill(GasmCast(wider.model, wider.spec), weights, "best.safetensors")


def test_a_folder_whose_states_are_all_damaged_cannot_be_resumed(fake, tmp_path):
    folder = tmp_path / "run"
    _train(fake, folder, train__epochs=1)
    for state in folder.glob("state*.safetensors"):
        state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(TornFileError, match=r"No state in .* is complete") as caught:
        _train(fake, folder, resume=True, train__epochs=2)
    assert caught.value.exit_code == 3
