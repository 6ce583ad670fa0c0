"""Explain the features of a set: what each tap carries, and what clusters in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Sample, read_split, usable
from gasmcast.errors import UsageError
from gasmcast.explain.attention_pictures import png
from gasmcast.explain.curve_plots import draw_heat_maps, draw_points
from gasmcast.explain.probes import (
    Probe,
    cka,
    group_folds,
    project,
    require_sklearn,
    run_probe,
)
from gasmcast.explain.tap_vectors import TapVectors, read_taps
from gasmcast.explain.token_pictures import draw_tokens
from gasmcast.files import write_atomic
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.progress import Progress, silent
from gasmcast.report.html import Share, Table, data_uri, render

__all__ = ["FeatureReport", "explain_features"]

FEWEST_CLIPS = 12
NAMED_GROUPS = 12
"""Classes and sources with a color and a name on a map, the most frequent ones."""


@dataclass(frozen=True)
class FeatureReport:
    """Findings on the taps of a model's backbones."""

    clips: int
    classes: int
    sources: int | None
    """Footages that the clips were cut from; None if the set does not state them."""
    chance: float
    """Mean-class accuracy of guessing."""
    probes: tuple[Probe, ...]
    cka: NDArray[np.float64]
    """`(taps, taps)` similarity of the taps, 0..1."""
    cached: bool
    """Whether the feature cache was used."""

    @property
    def best(self) -> Probe:
        """Tap with the best probe."""
        return max(self.probes, key=lambda probe: max(probe.ridge, probe.neighbors))

    def __str__(self) -> str:
        best = self.best
        share = max(best.ridge, best.neighbors)
        grouped = "clip (the set states no sources)" if self.sources is None else "source"
        return (
            f"{best.tap} carries most: {share:.1%} of {self.classes} classes by a probe (chance "
            f"{self.chance:.1%}), cross-validated by {grouped} on {self.clips} clips. "
            f"{self.clusters}"
        )

    @property
    def clusters(self) -> str:
        """Sentence that says if clips cluster by class or by source."""
        best = self.best
        if best.by_class is None or best.by_source is None or self.sources is None:
            return "Whether clips cluster by background is not known without sources."
        kind = "class" if best.by_class > best.by_source else "source, that is by background"
        return (
            f"There clips cluster more by {kind}: silhouette {best.by_class:+.2f} by class, "
            f"{best.by_source:+.2f} by source."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of `features.json`."""
        return {
            "clips": self.clips,
            "classes": self.classes,
            "sources": self.sources,
            "chance": self.chance,
            "probes": [asdict(probe) for probe in self.probes],
            "cka": self.cka.tolist(),
            "cached": self.cached,
        }


def explain_features(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    cache: Path,
    clips: int = 600,
    seed: int = 0,
    progress: Progress = silent,
) -> FeatureReport:
    """Explain the features of a set's training clips, and write `index.html` and `features.json`.

    Args:
        checkpoint: run folder or checkpoint; its backbones encode.
        data: data set in any format that `gasmcast.data` reads.
        out: folder; created if missing.
        cache: folder of feature caches.
        clips: largest number of clips; a larger set is drawn from at random.
        seed: seed of that choice.
        progress: called as clips are done.

    Raises:
        MachineError: scikit-learn is missing, or no space is left.
        UsageError: no checkpoint or set, too few clips, or a class with one source only.
    """
    require_sklearn()
    model, config, labels, _ = load_checkpoint(checkpoint)
    samples = _choose(usable(read_split(data, "train"), data), clips, seed, data)
    taps = read_taps(model, config, samples, cache, "train", progress=progress)

    # Without sources every clip is one of its own, and the page says so.
    progress("probing")
    classes = np.array([sample.label for sample in taps.samples], np.int64)
    stated = any(sample.source for sample in taps.samples)
    sources = [sample.source or sample.id for sample in taps.samples]
    folds = group_folds(classes, sources)
    probes = tuple(
        run_probe(name, vectors, classes, sources, folds) for name, vectors in taps.vectors.items()
    )
    values = list(taps.vectors.values())
    report = FeatureReport(
        clips=len(classes),
        classes=len(np.unique(classes)),
        sources=len(set(sources)) if stated else None,
        chance=1 / len(np.unique(classes)),
        probes=probes,
        cka=np.array([[cka(a, b) for b in values] for a in values]),
        cached=taps.cached,
    )

    progress("drawing")
    names = [labels.names[i] for i in classes]
    _write(report, taps, names, sources if stated else None, out=out)
    return report


def _choose(samples: list[Sample], count: int, seed: int, data: Path) -> list[Sample]:
    if len(samples) < FEWEST_CLIPS:
        raise UsageError(
            f"{data} has {len(samples)} training clips with a video; probes need {FEWEST_CLIPS}.",
            "Give a set with more of them.",
        )
    if len(samples) <= count:
        return samples
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    return [samples[i] for i in sorted(chosen)]


def _write(
    report: FeatureReport,
    taps: TapVectors,
    classes: Sequence[str],
    sources: Sequence[str] | None,
    *,
    out: Path,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "features.json", json.dumps(report.to_json(), indent=1))

    tokens = []
    for name, token_maps in taps.maps.items():
        picture = png(draw_tokens(token_maps))
        write_atomic(out / f"tokens_{name.replace(' ', '_').replace(',', '')}.png", picture)
        tokens.append((data_uri(picture, "png"), name))

    # One map for each stream: the tap whose probe is best.
    maps = []
    for tap in _best_taps(report):
        points = project(taps.vectors[tap])
        for kind, groups in (("class", classes), ("source", sources)):
            if groups is not None:
                caption = f"{tap}, colored by {kind}"
                maps.append((_map(points, groups), caption))

    names = list(taps.vectors)
    similarity = draw_heat_maps([report.cka], ["linear CKA"], ticks=names, peak=1.0)
    page = render(
        "features.html.j2",
        title="What do the features carry?",
        report=report,
        verdict=str(report),
        probes=_table(report),
        tokens=tokens,
        maps=maps,
        cka=data_uri(similarity.encode(), "svg+xml"),
    )
    write_atomic(out / "index.html", page)


def _best_taps(report: FeatureReport) -> list[str]:
    """Return the tap of each stream with the best ridge probe."""
    best: dict[str, Probe] = {}
    for probe in report.probes:
        stream = probe.tap.partition(" ")[0]
        if stream not in best or probe.ridge > best[stream].ridge:
            best[stream] = probe
    return [probe.tap for probe in best.values()]


def _map(points: NDArray[np.float64], groups: Sequence[str]) -> str:
    # Frequent groups get a color; hundreds of sources would have no readable legend.
    frequent = [name for name, _ in Counter(groups).most_common(NAMED_GROUPS)]
    number = {name: i for i, name in enumerate(frequent)}
    numbers = np.array([number.get(name, -1) for name in groups])
    return data_uri(draw_points(points, numbers, frequent).encode(), "svg+xml")


def _table(report: FeatureReport) -> Table:
    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:+.2f}"

    # Without sources that silhouette would be one of single clips.
    stated = report.sources is not None
    rows = []
    for probe in report.probes:
        row = [probe.tap, Share(probe.ridge), Share(probe.neighbors), figure(probe.by_class)]
        rows.append([*row, figure(probe.by_source)] if stated else row)
    head = ["tap", "ridge probe", "5-NN probe", "silhouette by class"]
    head += ["by source"] if stated else []
    return Table(head, rows, numbers=range(1, len(head)))
