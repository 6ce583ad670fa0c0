"""Find the blocks that lose most in INT8, and how few must go back to high precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockLoss", "Relaxed", "fewest_back", "loss_of", "rank"]

Logits = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BlockLoss:
    """Loss of one block that alone is INT8, with everything else in FP32."""

    component: str
    block: str
    noise: float
    """Mean squared error of the logits over their variance; 1 means the decision is lost."""
    agreement: float
    """Share of clips that get the same class as in FP32."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return asdict(self)


class Attempt(NamedTuple):
    """One run of the gate during a search."""

    moved_back: int
    """Number of blocks in high precision."""
    passed: bool


@dataclass(frozen=True)
class Relaxed:
    """Result of a search for the fewest blocks in high precision."""

    back: tuple[str, ...]
    """Blocks that went back to high precision, worst first."""
    passed: bool
    """Whether the gate passes with them."""
    tried: tuple[Attempt, ...]
    """Runs of the gate, in order."""


def loss_of(component: str, block: str, exact: Logits, logits: Logits) -> BlockLoss:
    """Return the loss of a block.

    Args:
        component: `encoder` or `head`.
        block: name of the block.
        exact: `(N, classes)` logits in FP32.
        logits: `(N, classes)` logits with the block in INT8.
    """
    a, b = np.asarray(exact, np.float64), np.asarray(logits, np.float64)
    # The softmax ignores a constant that is added to all logits, and so does the comparison.
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)

    noise = float("inf")
    if np.isfinite(b).all():
        noise = float(((a - b) ** 2).mean() / max(float(a.var()), 1e-20))
    agreement = float((a.argmax(1) == b.argmax(1)).mean())
    return BlockLoss(component, block, noise, agreement)


def rank(losses: Sequence[BlockLoss]) -> list[BlockLoss]:
    """Sort losses, worst first."""
    return sorted(losses, key=lambda loss: (-loss.noise, loss.block))


def fewest_back(ranked: Sequence[BlockLoss], passes: Callable[[tuple[str, ...]], bool]) -> Relaxed:
    """Return the fewest worst blocks that must go back to high precision for the gate to pass.

    Doubling finds a number that passes and bisection the smallest one, so the gate runs about
    2 log2(n) times. This assumes that more blocks in high precision never make the result worse.

    Args:
        ranked: losses of the blocks, worst first.
        passes: runs the gate with these blocks in high precision.
    """
    names = [loss.block for loss in ranked]
    attempts: list[Attempt] = []

    def attempt(count: int) -> bool:
        passed = passes(tuple(names[:count]))
        attempts.append(Attempt(count, passed))
        return passed

    # `low` fails throughout; `high` ends at a number that passes, or beyond the last block.
    low, high = 0, 1
    while high <= len(names) and not attempt(high):
        low = high
        high = min(high * 2, len(names)) if high < len(names) else len(names) + 1
    if high > len(names):
        return Relaxed(tuple(names), False, tuple(attempts))

    while high - low > 1:
        middle = (low + high) // 2
        if attempt(middle):
            high = middle
        else:
            low = middle
    return Relaxed(tuple(names[:high]), True, tuple(attempts))
