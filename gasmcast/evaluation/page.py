"""The error analysis as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import hits
from gasmcast.evaluation.mistakes import Bin, Mistake, by_quantity, examples_of, worst_clips
from gasmcast.evaluation.scores import Scores
from gasmcast.evaluation.time_tests import ReversalScores, ShuffleScores
from gasmcast.files import write_atomic
from gasmcast.report.charts import frame_strip
from gasmcast.report.html import document, image, percent, table

__all__ = ["write_page"]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --ink: #1f6fb2; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; } td, th { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { background: var(--ink); height: .7rem; border-radius: 2px; }
.clip { margin: 1rem 0; } .clip img { width: 100%; border-radius: 4px; display: block; }
.pictures img { max-width: 49%; vertical-align: top; }
small { opacity: .75; }
"""


def _bins(title: str, unit: str, bins: Sequence[Bin]) -> str:
    rows = [
        [
            f"{b.low:.2f} to {b.high:.2f} {unit}",
            f'<div class="bar" style="width:{100 * b.top1:.1f}%"></div>',
            str(b.clips),
            percent(b.top1, b.interval),
        ]
        for b in bins
    ]
    return f"<h2>{escape(title)}</h2>" + table(
        [title.removeprefix("Accuracy by "), "", "clips", "top-1"], rows, (2, 3)
    )


def _clip(mistake: Mistake, name: str, strip: bytes | None) -> str:
    words = (
        f"<b>{escape(name)}</b>: {escape(mistake.true)} <small>({percent(mistake.true_probability)})</small> taken for "
        f"<b>{escape(mistake.predicted)}</b> <small>({percent(mistake.probability)})</small>"
    )
    picture = image(strip, "jpeg", f"frames of {name}") if strip else "<small>no frames</small>"
    return f'<div class="clip">{words}{picture}</div>'


def _summary(scores: Scores) -> str:
    rows = [
        ["top-1", percent(scores.top1, scores.top1_interval)],
        ["top-5", percent(scores.top5, scores.top5_interval)],
        ["mean-class", percent(scores.mean_class, scores.mean_class_interval)],
        ["always the most frequent class", percent(scores.chance)],
        ["ECE, plain softmax", percent(scores.ece)],
        [
            f"ECE, temperature {scores.temperature:.2f} (fitted on the other half)",
            percent(scores.ece_calibrated),
        ],
    ]
    return table(["figure", f"{scores.clips} clips, 95 % interval"], rows, (1,))


def _time_tests(reversal: ReversalScores | None, shuffle: ShuffleScores | None) -> str:
    rows = []
    if reversal is not None:
        rows.append(["played backwards: another class is given", percent(reversal.changed)])
        if reversal.reversed_top1 is not None:
            rows.append(
                [
                    "played backwards: the reversed class is given (paired classes)",
                    percent(reversal.reversed_top1, reversal.reversed_interval),
                ]
            )
    if shuffle is not None:
        rows.append(
            ["frames shuffled: top-1", percent(shuffle.shuffled_top1, shuffle.shuffled_interval)]
        )
        if shuffle.blind_ceiling is not None:
            rows.append(
                ["the most that a model blind to order can reach", percent(shuffle.blind_ceiling)]
            )
    return (
        "<h2>Does order in time matter?</h2>" + table(["test", "result"], rows, (1,))
        if rows
        else ""
    )


def write_page(
    path: Path,
    title: str,
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
    *,
    scores: Scores,
    ids: Sequence[str],
    clip_of: Callable[[int], NDArray[np.uint8]],
    lengths_s: NDArray[np.floating],
    motion: NDArray[np.floating],
    pictures: Sequence[Path] = (),
    reversal: ReversalScores | None = None,
    shuffle: ShuffleScores | None = None,
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        title: what was evaluated on what.
        logits: `(N, classes)`.
        labels: `(N,)`.
        names: of the classes.
        scores: of these logits.
        ids: `(N,)` names of the clips.
        clip_of: the frames of a clip by its number, `(1+S, F, H, W, 3)`.
        lengths_s: `(N,)` seconds.
        motion: `(N,)` of `motion_amount`.
        pictures: PNG files to embed.
        reversal: of the time-reversal test, if it was made.
        shuffle: of the frame-shuffle test, if it was made.
    """
    names = list(names)
    correct = hits(logits, labels)
    strips: dict[int, bytes] = {}

    def clips(mistakes: Sequence[Mistake]) -> str:
        for mistake in mistakes:
            if mistake.index not in strips:
                strips[mistake.index] = frame_strip(clip_of(mistake.index))
        return "".join(
            _clip(mistake, ids[mistake.index], strips[mistake.index]) for mistake in mistakes
        )

    parts = [f"<h1>{escape(title)}</h1>", _summary(scores), _time_tests(reversal, shuffle)]
    parts.append('<h2>Confusion and calibration</h2><div class="pictures">')
    parts += [image(picture.read_bytes(), "png", picture.stem) for picture in pictures]
    parts.append("</div>")
    parts.append(_bins("Accuracy by clip length", "s", by_quantity(lengths_s, correct)))
    parts.append(_bins("Accuracy by motion", "gray levels a frame", by_quantity(motion, correct)))
    parts.append("<h2>Most confused pairs</h2>")
    for pair in scores.confused[:10]:
        parts.append(
            f"<h3>{escape(pair.first)} / {escape(pair.second)} <small>{percent(pair.share)} of their clips</small></h3>"
        )
        parts.append(
            clips(
                examples_of(logits, labels, names, true=pair.first, predicted=pair.second, most=2)
            )
        )
        parts.append(
            clips(
                examples_of(logits, labels, names, true=pair.second, predicted=pair.first, most=2)
            )
        )
    parts.append("<h2>Worst clips</h2>")
    parts.append(clips(worst_clips(logits, labels, names)))
    rows = [
        [escape(c.name), escape(c.mistaken_for), str(c.clips), percent(c.accuracy)]
        for c in sorted(scores.classes, key=lambda c: c.accuracy)
    ]
    parts.append(
        "<h2>Every class, the worst first</h2>"
        + table(["class", "mostly mistaken for", "clips", "accuracy"], rows, (2, 3))
    )
    write_atomic(path, document(title, STYLE, "\n".join(parts)))
