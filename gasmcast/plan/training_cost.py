"""What it takes to train on 1 to 64 cards: batch, learning rate, clips per second and time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gasmcast.plan.cost_figures import TRAINING_CARD, TRAINING_FIGURES, Figure

__all__ = ["GpuPlan", "TrainingPlan", "plan_training"]

_CARDS = (1, 2, 4, 8, 16, 32, 64)
_NODE_CARDS = 8
"""Cards of one machine, which exchange gradients without the network."""
_UPDATE_CLIPS, _LEARNING_RATE = 64, 3e-4
"""Clips of one update for which the default learning rate was chosen."""


@dataclass(frozen=True)
class GpuPlan:
    """One number of cards."""

    gpus: int
    nodes: int
    accumulate: int
    """Setting `train.accumulate`."""
    update_clips: int
    """Clips of one update of the weights."""
    learning_rate: float
    exchange_share: float
    """Share of the time of a step that the exchange of gradients takes."""
    clips_per_s: float
    decode_cores: int
    """Cores that decode as fast as the cards train."""
    read_mb_s: float
    """Megabytes of video per second that storage must deliver."""
    epoch_min: float
    total_h: float
    limited_clips_per_s: float
    """Clips per second with the cores that a machine has."""
    limited_total_h: float


@dataclass(frozen=True)
class TrainingPlan:
    """Training with several numbers of cards."""

    clips: int
    epochs: int
    card: str
    rows: tuple[GpuPlan, ...]


def plan_training(
    clips: int, *, epochs: int = 40, figures: Mapping[str, Figure] = TRAINING_FIGURES
) -> TrainingPlan:
    """Plan a training run of the `ssv2` preset.

    Up to eight cards the clips of one update stay 64 and gradients are accumulated; beyond that the
    batch grows, and the learning rate with its square root, which is the rule for Adam (Malladi et
    al. 2022, https://arxiv.org/abs/2205.10287). Gradients are exchanged around a ring, after the
    step: what is overlapped with computing is a gain on top.

    Args:
        clips: clips of the training set.
        epochs: passes over them; validation is not counted.
        figures: what the model starts from.
    """
    value = {name: figure.value for name, figure in figures.items()}
    rows = [_plan_gpus(gpus, clips, epochs, value) for gpus in _CARDS]
    return TrainingPlan(clips, epochs, TRAINING_CARD, tuple(rows))


def _plan_gpus(gpus: int, clips: int, epochs: int, value: Mapping[str, float]) -> GpuPlan:
    nodes = math.ceil(gpus / _NODE_CARDS)
    step_clips = int(value["batch_clips"]) * gpus
    accumulate = max(1, _UPDATE_CLIPS // step_clips)
    update_clips = step_clips * accumulate

    # Every member of a ring of n sends 2 (n - 1) / n of the gradients.
    card_clips_per_s = (
        value["train_peak"] * 1e12 * value["card_share"] / (value["train_tera_ops"] * 1e12)
    )
    compute_s = value["batch_clips"] * accumulate / card_clips_per_s
    local = min(gpus, _NODE_CARDS)
    gigabytes = value["gradient_mb"] / 1000
    exchange_s = 2 * (local - 1) / local * gigabytes / value["node_gb_s"]
    exchange_s += 2 * (nodes - 1) / nodes * gigabytes / (value["network_gbit"] / 8)
    share = exchange_s / (compute_s + exchange_s)

    clips_per_s = card_clips_per_s * gpus * (1 - share)
    decoded = nodes * value["node_cores"] * value["core_clips_s"]
    limited = min(clips_per_s, decoded)
    hours = clips * epochs / 3600
    return GpuPlan(
        gpus=gpus,
        nodes=nodes,
        accumulate=accumulate,
        update_clips=update_clips,
        learning_rate=_LEARNING_RATE * math.sqrt(update_clips / _UPDATE_CLIPS),
        exchange_share=share,
        clips_per_s=clips_per_s,
        decode_cores=math.ceil(clips_per_s / value["core_clips_s"]),
        read_mb_s=clips_per_s * value["clip_kb"] / 1000,
        epoch_min=clips / clips_per_s / 60,
        total_h=hours / clips_per_s,
        limited_clips_per_s=limited,
        limited_total_h=hours / limited,
    )
