"""Feature caches of a data set: plan them for a model, find one that fits, open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from gasmcast.config import Config
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.features.cache_index import read_index
from gasmcast.features.cache_plan import CachePlan, Encoder, Precision, plan_cache
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.models.checkpoint import build_or_reload
from gasmcast.models.model import GasmCast, build_model

__all__ = ["CachePart", "FeatureCaches", "find_caches", "plan_caches"]


@dataclass(frozen=True)
class CachePart:
    """Feature cache of one split."""

    samples: Sequence[Sample]
    plan: CachePlan

    @property
    def is_complete(self) -> bool:
        """Return whether the cache has been filled; its index is written last."""
        return (self.plan.folder / "index.json").is_file()


@dataclass(frozen=True)
class FeatureCaches:
    """Feature caches of a data set for the backbones of one model."""

    config: Config
    model: GasmCast
    """Model whose backbones encode the clips."""
    parts: dict[str, CachePart]
    """Cache of each split: `train`, and `validation` if the data set has one."""

    @property
    def name(self) -> str:
        """Folder name, views, number type and encoder of the training cache."""
        plan = self.parts["train"].plan
        by = "" if plan.encoder == "torch" else f", {plan.encoder}"
        return f"{plan.folder.name} (views {plan.views}, {plan.dtype}{by})"

    @property
    def is_complete(self) -> bool:
        """Return whether the caches of all splits have been filled."""
        return all(part.is_complete for part in self.parts.values())

    def describe_size(self) -> str:
        """Return size on disk, folder and number of rows as a sentence."""
        total = sum(part.plan.bytes for part in self.parts.values())
        size = f"{total / 1e9:.2f} GB" if total >= 1e9 else f"{total / 1e6:.1f} MB"
        rows = ", ".join(
            f"{part.plan.rows} rows of {len(part.samples)} clips" for part in self.parts.values()
        )
        return f"{size} in {self.parts['train'].plan.folder.parent}: {rows}."

    def open(self, *, verify: bool = True) -> dict[str, FeatureDataset]:
        """Open the features of each split; training draws one of its views per clip and epoch.

        Args:
            verify: compare the digest of every shard.

        Raises:
            UsageError: a cache is missing, unfinished or damaged.
        """
        seed = self.config.train.seed
        return {
            split: FeatureDataset(
                part.plan, part.samples, seed=seed, draw=split == "train", verify=verify
            )
            for split, part in self.parts.items()
        }


def plan_caches(
    config: Config,
    samples: Mapping[str, Sequence[Sample]],
    folder: Path,
    *,
    views: int = 1,
    dtype: Precision = "float16",
    run_folder: Path | None = None,
) -> FeatureCaches:
    """Plan the feature caches of a data set; nothing is encoded yet.

    Args:
        config: configuration of the run.
        samples: clips of each split.
        folder: folder of caches.
        views: views per training clip; a validation clip has one.
        dtype: type of the stored numbers.
        run_folder: run folder whose stored frozen backbones are used, if it has any.

    Raises:
        UsageError: the backbones are trained, or their weights do not fit.
        MachineError: pretrained weights are not available.
    """
    model = _build(config, run_folder)
    return _plan(config, model, samples, folder, views=views, dtype=dtype)


def find_caches(
    config: Config, samples: Mapping[str, Sequence[Sample]], folder: Path
) -> FeatureCaches:
    """Find the feature caches in `folder` that fit the model and the data set.

    When several fit, `train.cache_views` and `train.cache_encoder` decide. When none fits, the
    caches that would fit are returned, and opening them explains what is missing.

    Args:
        config: configuration of the run.
        samples: clips of each split.
        folder: folder of caches.

    Raises:
        UsageError: several caches fit, or an index is damaged.
        MachineError: pretrained weights are not available.
    """
    # Views, number type and encoder are parts of a cache's key, so all in the folder are tried.
    kinds = set()
    for index in folder.glob("train-*/index.json"):
        content = read_index(index)
        kinds.add((content.views, str(content.facts["dtype"]), content.encoder))

    # A cache fits if its key is that of a plan for this model and data set.
    model = _build(config, None)
    fitting = []
    for views, dtype, encoder in sorted(kinds):
        caches = _plan(
            config,
            model,
            samples,
            folder,
            views=views,
            dtype=cast("Precision", dtype),
            encoder=cast("Encoder", encoder),
        )
        if caches.parts["train"].is_complete:
            fitting.append(caches)

    # What the run would fill itself chooses, where there is a choice.
    wanted = config.train
    if wanted.cache_views and len(fitting) > 1:
        exact = [c for c in fitting if c.parts["train"].plan.views == wanted.cache_views]
        fitting = exact or fitting
    if len(fitting) > 1:
        exact = [c for c in fitting if c.parts["train"].plan.encoder == wanted.cache_encoder]
        fitting = exact or fitting

    if len(fitting) > 1:
        names = ", ".join(caches.name for caches in fitting)
        raise UsageError(
            f"{folder} has {len(fitting)} caches that fit this run: {names}.",
            "Choose with --set train.cache_views=VIEWS, or keep one of them there.",
        )

    # Without a cache that fits, opening this plan explains what is missing.
    if not fitting:
        return _plan(config, model, samples, folder, views=wanted.cache_views or 1, dtype="float16")
    return fitting[0]


def _build(config: Config, run_folder: Path | None) -> GasmCast:
    """Build the model as the run does, so that random backbones are the same ones."""
    torch.manual_seed(config.train.seed)
    return build_model(config) if run_folder is None else build_or_reload(config, run_folder)


def _plan(
    config: Config,
    model: GasmCast,
    samples: Mapping[str, Sequence[Sample]],
    folder: Path,
    *,
    views: int,
    dtype: Precision,
    encoder: Encoder | None = None,
) -> FeatureCaches:
    """Plan the caches of all splits for a model that is built already."""
    parts = {}
    for split, clips in samples.items():
        count = views if split == "train" else 1
        plan = plan_cache(
            model, config, clips, folder, split, views=count, dtype=dtype, encoder=encoder
        )
        parts[split] = CachePart(clips, plan)
    return FeatureCaches(config, model, parts)
