"""Classes of Something-Something-V2 that show each other when they are played backwards."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PAIRS", "reversals"]

# By what their names say of things and camera, as Price and Damen 2019 (Retro-Actions, arXiv 1909.09422) ask it; hands are not looked at.
# Left out is what no other name says backwards: dropping, tearing, pouring.
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
    """Numbers of the classes that have their reversal among `names`, and its number, both ways."""
    index = {name: i for i, name in enumerate(names)}
    pairs = [
        (index[first], index[second])
        for first, second in PAIRS
        if first in index and second in index
    ]
    return dict(pairs) | {second: first for first, second in pairs}
