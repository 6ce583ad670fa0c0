"""What a training run shows on a terminal, and in a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gasmcast.config import parse_config
from gasmcast.training.logs.terminal import Display, RunStatus, describe_loss

STATUS = RunStatus(
    epoch=98,
    epochs=100,
    step=1234,
    steps=5678,
    loss=3.8512,
    top1=0.123,
    top5=1.0,
    lr=8.57e-4,
    clips_per_s=123.4,
    wait_share=0.05,
    memory_gib=70.1,
    remaining_s=123 * 3600 + 45 * 60 + 6,
)


def figures(top1: float) -> dict[str, float]:
    return {"train_loss": 3.2, "train_top1": 0.5, "top1": top1, "top5": 0.9, "mean_class": 0.4}


def shown(width: int, epochs: int = 2) -> str:
    """Return the last table of a run."""
    out = io.StringIO()
    with Display(console=Console(file=out, width=width, force_terminal=True)) as display:
        display.update(STATUS)
        for number in range(epochs):
            display.epoch(number, figures((number + 1) / 10))
    return out.getvalue().rsplit("finished epochs", 1)[1]


@pytest.mark.parametrize("width", [80, 140])
def test_the_last_epoch_is_in_the_table(width: int) -> None:
    assert "10.0 %" in shown(width)
    assert "20.0 %" in shown(width)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_what_is_shown_is_whole(width: int) -> None:
    text = shown(width)
    assert "…" not in text
    for cell in ("99/100", "1234/5678", "3.8512", "123:45:06"):
        assert cell in text
    if width >= 80:
        assert "8.57e-04" in text
        assert "12.3 %" in text
    assert ("70.1 GiB" in text) == (width == 140)


def test_scores_have_the_same_names_everywhere() -> None:
    assert "top1" not in shown(140)
    assert "mean_class" not in shown(140)
    out = io.StringIO()
    display = Display(console=Console(file=out, width=80))
    display.epoch(0, figures(0.1))
    assert out.getvalue().strip() == (
        "epoch 1  train loss 3.2000  train top-1 50.0 %  top-1 10.0 %  top-5 90.0 %  "
        "mean-class 40.0 %"
    )


@pytest.mark.parametrize(
    ("settings", "guarded", "text"),
    [
        (
            {"train": {"label_smoothing": 0.0}, "augment": {"mixup": 0.0, "cutmix": 0.0}},
            False,
            "loss: cross-entropy. A guess among 7 classes has 1.95.",
        ),
        (
            {"train": {"stream_loss": 0.5}},
            False,
            (
                "loss: cross-entropy + 0.5 x semantic + 0.5 x motion, on mixed clips and smoothed "
                "labels. A guess among 7 classes has 3.89."
            ),
        ),
        (
            {},
            True,
            (
                "loss: the cross-entropies of all read-outs, on mixed clips and smoothed labels. "
                "A guess among 7 classes has 1.95 for each."
            ),
        ),
    ],
)
def test_the_terms_of_the_loss_are_named(settings, guarded: bool, text: str) -> None:
    assert describe_loss(parse_config(settings, "x"), 7, guarded=guarded) == text
