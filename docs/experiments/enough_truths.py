"""Check `gasmcast enough` against planted truths: wrong labels, curves that rise, forecasts.

    python docs/experiments/enough_truths.py [features.npz]

Made-up features unless a file with `block0`, `block1`, ..., `labels` and `sources` is given.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from gasmcast.features.ridge import gram_matrix
from gasmcast.studies.enough.enough_answer import study_features
from gasmcast.studies.enough.harm import rank_harm

CLASSES = 10
STYLES = 8
"""Ways of doing an action of a class whose curve rises; each source shows one."""


def made_up(seed: int, sources: int, clips: int = 4) -> tuple[NDArray, NDArray, NDArray]:
    """Return features `(N, 64)`, labels and sources; odd classes have many styles.

    The classes are the same for every seed; their sources differ.
    """
    rng = np.random.default_rng(0)
    classes = rng.normal(size=(CLASSES, 64))
    classes[2] = classes[0] + 0.2 * rng.normal(size=64)  # two that are mistaken for each other
    styles = rng.normal(size=(CLASSES, STYLES, 64))
    rng = np.random.default_rng(1 + seed)
    rows, labels, names = [], [], []
    for label in range(CLASSES):
        for source in range(sources):
            own = 0.7 * rng.normal(size=64)
            style = styles[label, rng.integers(STYLES)] if label % 2 else classes[label]
            for _ in range(clips):
                rows.append(style + own + rng.normal(size=64))
                labels.append(label)
                names.append(f"{label}-{source}")
    return np.array(rows), np.array(labels), np.array(names)


def find_wrong_labels(blocks: list[NDArray], labels: NDArray, sources: NDArray) -> None:
    """Print recall and precision among the first 10 % for 5 % wrong labels, over 12 draws."""
    groups = np.unique(sources, return_inverse=True)[1]
    gram, count = gram_matrix(blocks), len(labels)
    classes, planted = int(labels.max()) + 1, max(1, round(0.05 * len(labels)))
    first = max(1, round(0.1 * count))

    # Each draw plants other wrong labels.
    recalls, by_source, durations = [], [], []
    for draw in range(12):
        rng = np.random.default_rng(draw)
        wrong = rng.choice(count, planted, replace=False)
        given = labels.copy()
        given[wrong] = (given[wrong] + rng.integers(1, classes, planted)) % classes

        start = time.perf_counter()
        ranked = rank_harm(gram, given, groups, classes)
        durations.append(time.perf_counter() - start)

        # The simpler order, to compare with: by the loss when the clip's source is left out.
        other = sorted(ranked, key=lambda clip: -clip.out_of_fold_loss)
        for order, shares in ((ranked, recalls), (other, by_source)):
            found = {clip.clip for clip in order[:first]}
            shares.append(len(found & set(wrong.tolist())) / planted)

    precision = np.array(recalls) * planted / first
    print(
        f"{planted} of {count} labels wrong, first {first}: recall {np.mean(recalls):.2f}"
        f" (lowest {min(recalls):.2f}), precision {precision.mean():.2f} (at most"
        f" {planted / first:.2f}), {np.median(durations):.1f} s;"
        f" by the loss without the source: recall {np.mean(by_source):.2f}"
    )


def forecast(draws: int, sources: int) -> None:
    """Print the share of forecasts that hold, and the trends that are given."""
    covered: dict[str, list[bool]] = {"all classes": [], "one class": []}
    names = [f"class {label}" for label in range(CLASSES)]
    trends = np.empty((draws, CLASSES), object)
    gains = np.zeros((draws, CLASSES))
    for seed in range(draws):
        features, labels, groups = made_up(seed, 2 * sources)
        half = np.array([int(name.split("-")[1]) < sources for name in groups])
        small = study_features([features[half]], labels[half], groups[half].tolist(), names)
        large = study_features([features], labels, groups.tolist(), names)
        trends[seed] = [curve.trend for curve in small.classes]
        pairs = zip((small.overall, *small.classes), (large.overall, *large.classes), strict=True)
        for number, (before, after) in enumerate(pairs):
            low, high = before.twice.interval
            kind = "one class" if number else "all classes"
            covered[kind].append(low <= after.accuracy[-1] <= high)
            if number:
                gains[seed, number - 1] = after.accuracy[-1] - before.accuracy[-1]

    for name, hits in covered.items():
        print(f"{sources} sources, forecast covers twice as many, {name}: {sum(hits)}/{len(hits)}")
    # One draw says little about a class, so its true gain is the mean of all draws.
    true = gains.mean(0)
    for kind, chosen in (("rising", true >= 0.06), ("flat", true <= 0.02)):
        answers = trends[:, chosen].ravel().tolist()
        counts = {answer: answers.count(answer) for answer in ("rising", "flat", "unclear")}
        shown = ", ".join(f"{gain:+.2f}" for gain in true[chosen])
        print(f"{sources} sources, classes that are truly {kind} ({shown}) are called {counts}")


def main() -> None:
    """Print all figures."""
    if len(sys.argv) > 1:
        stored = np.load(sys.argv[1])
        blocks = [stored[name] for name in sorted(stored.files) if name.startswith("block")]
        find_wrong_labels(blocks, stored["labels"], stored["sources"])
        return

    features, labels, sources = made_up(0, 5)
    find_wrong_labels([features], labels, sources)
    start = time.perf_counter()
    study_features([features], labels, sources.tolist(), [str(label) for label in range(CLASSES)])
    print(f"the whole study of {len(labels)} clips: {time.perf_counter() - start:.1f} s")
    forecast(12, 5)


if __name__ == "__main__":
    main()
