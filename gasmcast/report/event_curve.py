"""Draw hits against false events over all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gasmcast.files import atomic_path
from gasmcast.report.figures import BAR, MARK

__all__ = ["draw_event_curve"]


def draw_event_curve(
    path: Path,
    on: Sequence[float],
    *,
    recall: Sequence[float],
    precision: Sequence[float],
    false_per_hour: Sequence[float],
) -> None:
    """Draw recall over false events an hour, and precision over recall, at temporal IoU 0.5.

    Args:
        path: picture to write.
        on: thresholds; every third one is written beside its point.
        recall: share of actions that an event matches, by threshold.
        precision: share of events that match an action, by threshold.
        false_per_hour: events without an action of their label, by threshold.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(false_per_hour, [100 * value for value in recall], "o-", color=BAR, markersize=3)
    left.set(xlabel="false events an hour", ylabel="recall, %", ylim=(-2, 102))
    right.plot(
        [100 * value for value in recall],
        [100 * value for value in precision],
        "o-",
        color=MARK,
        markersize=3,
    )
    right.set(xlabel="recall, %", ylabel="precision, %", xlim=(-2, 102), ylim=(-2, 102))

    # All thresholds would cover each other.
    for index in range(0, len(on), 3):
        left.annotate(f"{on[index]:g}", (false_per_hour[index], 100 * recall[index]), fontsize=7)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120, format="png")
