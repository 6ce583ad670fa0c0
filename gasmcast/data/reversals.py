"""List the classes of Something-Something-V2 that show each other when they are played backward."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PAIRS", "reversals"]

# Chosen by what the names say about things and camera, as in Price and Damen 2019 (Retro-Actions,
# arXiv 1909.09422); hands are ignored. Classes whose reversal has no name of its own are left out:
# dropping, tearing, pouring.
PAIRS = (
    ("Approaching something with your camera", "Moving away from something with your camera"),
    ("Burying something in something", "Digging something out of something"),
    ("Closing something", "Opening something"),
    ("Covering something with something", "Uncovering something"),
    ("Folding something", "Unfolding something"),
    (
        "Moving something and something away from each other",
        "Moving something and something closer to each other",
    ),
    ("Moving something away from something", "Moving something closer to something"),
    ("Moving something away from the camera", "Moving something towards the camera"),
    ("Moving something down", "Moving something up"),
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Putting something into something", "Taking something out of something"),
    (
        "Turning the camera downwards while filming something",
        "Turning the camera upwards while filming something",
    ),
    (
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    ),
)


def reversals(names: Sequence[str]) -> dict[int, int]:
    """Return the reversed class of each class index that has one, in both directions.

    Args:
        names: class names; only pairs with both classes among them count.
    """
    index = {name: i for i, name in enumerate(names)}
    reversed_of: dict[int, int] = {}
    for first, second in PAIRS:
        if first in index and second in index:
            reversed_of[index[first]] = index[second]
    return reversed_of | {second: first for first, second in reversed_of.items()}
