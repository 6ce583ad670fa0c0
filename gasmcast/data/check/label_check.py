"""Find class names that are probably one class written in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations

from gasmcast.data.index_check import label_key

__all__ = ["similar_labels"]

ALIKE = 0.9
"""Share of equal characters from which two names are suspicious."""
MAX_CLASSES = 1000
_OPPOSITES = frozenset(
    {
        ("left", "right"), ("up", "down"), ("open", "close"), ("on", "off"), ("in", "out"),
        ("opening", "closing"), ("into", "out"), ("push", "pull"), ("pushing", "pulling"),
        ("from", "to"), ("away", "closer"), ("over", "under"), ("behind", "front"),
        ("fold", "unfold"), ("folding", "unfolding"), ("covering", "uncovering"),
    }
)  # fmt: skip


def similar_labels(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of class names that differ by little more than a typing error.

    Names whose only difference is a word and its opposite, or a number, are classes of their own.

    Args:
        names: class names.
    """
    if len(names) > MAX_CLASSES:
        return []
    pairs = []
    for first, second in combinations(names, 2):
        left, right = label_key(first), label_key(second)
        matcher = SequenceMatcher(None, left, right, autojunk=False)
        is_near = matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE
        if is_near and matcher.ratio() >= ALIKE and not _is_meant(left, right):
            pairs.append((first, second))
    return pairs


def _is_meant(left: str, right: str) -> bool:
    """Return whether the words in which two names differ mean different things."""
    ours, theirs = left.replace("_", " ").split(), right.replace("_", " ").split()
    if len(ours) != len(theirs):
        # A word more is rarely a typing error: "moving something", "moving something up".
        return len(ours) > 1 and len(theirs) > 1
    for word, other in zip(ours, theirs, strict=True):
        if word != other:
            is_opposite = (word, other) in _OPPOSITES or (other, word) in _OPPOSITES
            has_digit = any(c.isdigit() for c in word + other)
            return is_opposite or has_digit
    return False
