"""The time of encoding and training is said once, from measured rates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from gasmcast.config import load_config
from gasmcast.models.model import build_model
from gasmcast.training.inputs import forecast
from gasmcast.training.inputs.forecast import Forecast, training_s
from gasmcast.training.inputs.training_set import open_training_set

SECONDS = 0
ROWS = 1


@pytest.mark.parametrize(
    ("then_s", "steps", "said"),
    [
        # The compilation before the first batch is no part of the rate: a row a second.
        (0, [(0, 0), (40, 4), (44, 8), (52, 16)], "About 84 s left: 84 s to encode, 0 s to train."),
        (600, [(0, 0), (5, 1), (20, 2)], "About 34 min left: 24 min to encode, 10 min to train."),
        # Rows that were stored before took no time now.
        (0, [(0, 90), (1, 91), (13, 93)], "About 42 s left: 42 s to encode, 0 s to train."),
        (0, [(0, 0), (1, 4), (10, 8)], None),  # not ten seconds after the first batch
        (0, [(0, 100)], None),
    ],
)
def test_the_forecast_follows_the_rate(then_s, steps, said) -> None:
    now, texts = [0.0], []
    shown = Forecast(100, then_s, texts.append, clock=lambda: now[0])
    for step in steps:
        now[0] = step[SECONDS]
        shown.update(step[ROWS])
    shown.update(steps[-1][ROWS])  # said once
    assert texts == ([] if said is None else [said])


def test_the_training_is_counted_and_the_model_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_second(work, repeats) -> float:
        work()
        return 1.0

    monkeypatch.setattr(forecast, "fastest_s", one_second)
    config = load_config(
        "demo",
        {"model.freeze": True, "model.classes": 3, "train.batch_size": 4, "train.epochs": 10},
    )
    model = build_model(config)
    width = sum(torch.Size(shape).numel() for taps in model.encoder.tap_shapes() for shape in taps)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()

    def seconds(folds: int) -> float:
        return training_s(config, model, width=width, clips=40, validation=8, folds=folds)

    # In an epoch 10 updates and 2 batches of validation; five folds of 32 clips add 5 x 8 updates.
    assert seconds(0) == 10 * (10 + 2)
    assert seconds(5) == 10 * (10 + 40 + 2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_run_that_encodes_first_says_how_long_both_take(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(forecast, "SETTLED_S", 0.0)
    settings = {"model.freeze": True, "train.cache_views": 3, "train.workers": 0}
    for expected in (1, 0):  # what is complete needs no forecast
        open_training_set("demo", tiny_set, settings, run_folder=tmp_path, preload=False)
        text = capsys.readouterr().err
        assert len(re.findall(r"About .* left: .* to encode, .* to train\.", text)) == expected
