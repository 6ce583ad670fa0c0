"""Sensitivity: what each block costs when it alone is INT8, and the fewest blocks to move back until a gate passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockLoss", "Relaxed", "fewest_back", "loss_of", "rank"]

Logits = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BlockLoss:
    """One block quantized alone, everything else FP32."""

    component: str
    block: str
    noise: float
    """Mean squared error of the logits over their variance between clips: 1 means the decision is lost."""
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return asdict(self)


@dataclass(frozen=True)
class Relaxed:
    """How a search ended: the blocks that went back to high precision, worst first; `passed` when the gate holds without them."""

    back: tuple[str, ...]
    passed: bool
    tried: tuple[tuple[int, bool], ...]
    """(blocks moved back, whether the gate held), in the order tried."""


def loss_of(component: str, block: str, exact: Logits, logits: Logits) -> BlockLoss:
    """The loss of a block from `(N, classes)` logits without and with it in INT8."""
    a, b = np.asarray(exact, np.float64), np.asarray(logits, np.float64)
    # A constant added to all logits changes nothing; compare what the softmax sees.
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    noise = (
        float(((a - b) ** 2).mean() / max(float(a.var()), 1e-20))
        if np.isfinite(b).all()
        else float("inf")
    )
    return BlockLoss(component, block, noise, float((a.argmax(1) == b.argmax(1)).mean()))


def rank(losses: Sequence[BlockLoss]) -> list[BlockLoss]:
    """Worst first."""
    return sorted(losses, key=lambda loss: (-loss.noise, loss.block))


def fewest_back(ranked: Sequence[BlockLoss], passes: Callable[[tuple[str, ...]], bool]) -> Relaxed:
    """The fewest worst blocks to move back so that `passes(blocks)` holds.

    Doubling finds an end that passes, halving the fewest: the gate runs about 2 log2(n) times, not n times. Moving more
    blocks back is taken to help, which is the sense of the ranking.
    """
    names = [loss.block for loss in ranked]
    tried: list[tuple[int, bool]] = []

    def attempt(count: int) -> bool:
        held = passes(tuple(names[:count]))
        tried.append((count, held))
        return held

    low, high = 0, 1
    while high <= len(names) and not attempt(high):
        low, high = high, min(high * 2, len(names)) if high < len(names) else len(names) + 1
    if high > len(names):
        return Relaxed(tuple(names), False, tuple(tried))
    while high - low > 1:
        middle = (low + high) // 2
        if attempt(middle):
            high = middle
        else:
            low = middle
    return Relaxed(tuple(names[:high]), True, tuple(tried))
