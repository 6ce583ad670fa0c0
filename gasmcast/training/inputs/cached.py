"""A run from a feature cache: the same configuration, set and model as any other run, with rows in place of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.features.cache_plan import CachePlan, Precision, plan_cache
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.files import read_json
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import build_or_reload
from gasmcast.models.model import GasmCast, build_model
from gasmcast.training.inputs.training_set import Opened, open_run

__all__ = ["Cached", "open_any", "open_cached"]


@dataclass(frozen=True)
class Cached:
    """What a cache is made for, and made from."""

    run: Opened
    model: GasmCast
    parts: list[tuple[Sequence[Sample], CachePlan]]
    """Training, then validation where there is one."""

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.run.config

    @property
    def labels(self) -> Labels:
        """The set's classes."""
        return self.run.labels

    @property
    def training(self) -> CachePlan:
        """Of the training clips."""
        return self.parts[0][1]

    def size(self) -> str:
        """What the caches hold, as a sentence."""
        total = sum(plan.bytes for _, plan in self.parts)
        text = f"{total / 1e9:.2f} GB" if total >= 1e9 else f"{total / 1e6:.1f} MB"
        rows = ", ".join(
            f"{plan.rows} rows of {len(samples)} clips" for samples, plan in self.parts
        )
        return f"{text} in {self.training.folder.parent}: {rows}."

    def opened(self, *, verify: bool = True) -> Opened:
        """The run with its clips from the cache.

        Args:
            verify: compare every shard's digest.

        Raises:
            UsageError: there is no whole cache of this model and set.
        """
        seed = self.config.train.seed
        sets = [
            FeatureDataset(plan, samples, seed=seed, draw=i == 0, verify=verify)
            for i, (samples, plan) in enumerate(self.parts)
        ]
        augment = self.config.augment.model_copy(update={"cutmix": 0.0})
        loud = self.run.warnings
        if self.config.augment.cutmix:
            loud = (*loud, "Features cannot be cut and pasted: cutmix is off.")
        config = self.config.model_copy(update={"augment": augment})
        return replace(
            self.run,
            config=config,
            clips=sets[0],
            validation=sets[1] if len(sets) > 1 else None,
            warnings=loud,
        )


def open_cached(
    source: str | Path,
    data: Path,
    overrides: dict[str, Any],
    out: Path,
    *,
    views: int = 1,
    dtype: Precision = "float16",
    run_folder: Path | None = None,
) -> Cached:
    """The caches that a run needs.

    Args:
        source: a preset, or a YAML file.
        data: folder of a set in Something-Something-V2's format.
        overrides: dotted settings.
        out: folder of caches.
        views: of each training clip; validation has one.
        dtype: of the stored numbers.
        run_folder: of a run that may have been begun and keeps its backbones.

    Raises:
        UsageError: as `open_run` and `plan_cache`.
        MachineError: weights that are not there.
    """
    run, model = _open(source, data, overrides, run_folder)
    return _plan(run, model, out, views=views, dtype=dtype)


def open_any(
    source: str | Path, data: Path, overrides: dict[str, Any], caches: Path | None
) -> Opened:
    """A run on clips, or from the one of the caches in `caches` that is of its backbones and its set.

    Where several are, `train.cache_views` chooses; which one it is, is among the run's warnings.

    Raises:
        UsageError: as `open_run`; no cache fits, or several do.
        MachineError: weights that are not there.
    """
    if caches is None:
        return open_run(source, data, overrides)
    run, model = _open(source, data, overrides)
    kinds = set()
    for index in caches.glob("train-*/index.json"):
        facts = read_json(index, dict, "facts")["facts"]
        kinds.add((int(facts["views"][0]), str(facts["dtype"])))
    planned = [
        _plan(run, model, caches, views=views, dtype=cast("Precision", dtype))
        for views, dtype in sorted(kinds)
    ]
    fitting = [cached for cached in planned if (cached.training.folder / "index.json").is_file()]
    views = run.config.train.cache_views
    if views and len(fitting) > 1:
        fitting = [cached for cached in fitting if cached.training.views == views] or fitting
    if not fitting:
        return _plan(
            run, model, caches, views=views or 1, dtype="float16"
        ).opened()  # says what is missing
    names = [
        f"{cached.training.folder.name} (views {cached.training.views}, {cached.training.dtype})"
        for cached in fitting
    ]
    if len(fitting) > 1:
        raise UsageError(
            f"{caches} has {len(fitting)} caches that fit this run: {', '.join(names)}.",
            "Choose with --set train.cache_views=VIEWS, or keep one of them there.",
        )
    opened = fitting[0].opened()
    return replace(opened, warnings=(*opened.warnings, f"Clips come from {caches}: {names[0]}."))


def _open(
    source: str | Path, data: Path, overrides: dict[str, Any], folder: Path | None = None
) -> tuple[Opened, GasmCast]:
    run = open_run(source, data, {**overrides, "train.memory_gb": 0.0})
    torch.manual_seed(
        run.config.train.seed
    )  # as the run itself does: random backbones are the same ones
    return run, build_model(run.config) if folder is None else build_or_reload(run.config, folder)


def _plan(run: Opened, model: GasmCast, out: Path, *, views: int, dtype: Precision) -> Cached:
    parts: list[tuple[Sequence[Sample], CachePlan]] = []
    for split, clips, count in (("train", run.clips, views), ("validation", run.validation, 1)):
        if clips is not None:
            plan = plan_cache(
                model, run.config, clips.samples, out, split, views=count, dtype=dtype
            )
            parts.append((clips.samples, plan))
    return Cached(run, model, parts)
