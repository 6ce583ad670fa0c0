"""Failures of a weight update."""

import pytest

from gasmcast.labels import Labels
from gasmcast.tensorfile import read_tensors
from gasmcast.training import step
from gasmcast.training.loop import train
from gasmcast.training.resume.state_file import load_state
from gasmcast.training.step import DivergedError


def _train(fake, folder, epochs, resume=False):
    config = fake.tiny_config(train__epochs=epochs)
    return train(config, fake.FakeClips(config), None, Labels(fake.CLASSES), folder, resume=resume)


def test_a_loss_that_is_not_finite_names_the_clips_and_keeps_the_checkpoint(
    fake, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    _train(fake, folder, epochs=1)
    before = read_tensors(folder / "last.safetensors")[0]
    real = step.soft_targets
    monkeypatch.setattr(step, "soft_targets", lambda *a: real(*a) * float("nan"))
    with pytest.raises(
        DivergedError,
        match=r"loss is not finite at epoch 2, step 1; clips: clip\d+, clip\d+, clip\d+, clip\d+\.",
    ):
        _train(fake, folder, epochs=2, resume=True)
    with pytest.raises(DivergedError, match="loss is not finite at epoch 1, step 1") as caught:
        _train(fake, tmp_path / "fresh", epochs=1)
    assert "No checkpoint had been written yet" in caught.value.hint
    assert caught.value.exit_code == 4
    after = read_tensors(folder / "last.safetensors")[0]
    assert [name for name in before if not before[name].equal(after[name])] == []
    assert load_state(folder).record["progress"]["updates"] == 6
