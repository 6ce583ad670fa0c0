"""A cache of backbone taps as a set of clips: training from it skips decoding and both backbones, and is else the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.features.cache_plan import CachePlan, weights_sha
from gasmcast.files import read_json
from gasmcast.models.model import GasmCast
from gasmcast.tensorfile import TornFileError, read_tensors

__all__ = ["FeatureDataset"]


class FeatureDataset(Dataset[tuple[Tensor, int, int]]):
    """A cache as a set of clips: `(row (X,), label, index)`; `GasmCast.encode` takes batches of rows in place of clips.

    Clips that did not decode are left out. In training a view is drawn for each clip and epoch.
    """

    def __init__(
        self,
        plan: CachePlan,
        samples: Sequence[Sample],
        *,
        seed: int = 0,
        draw: bool = False,
        verify: bool = True,
    ) -> None:
        """Open the cache that `plan` describes.

        Args:
            plan: of the very model, configuration and clips that it is wanted for.
            samples: those clips.
            seed: of the views drawn.
            draw: training: a view at random; else always the first.
            verify: compare every shard's digest; not where `fill_cache` has just done so.

        Raises:
            UsageError: there is no such cache, it is unfinished, or a shard is missing or altered.
        """
        index = plan.folder / "index.json"
        if not index.is_file():
            raise UsageError(_explain(plan), "Make it with `gasmcast cache` and the same settings.")
        held = read_json(index, dict, "key", "labels")
        if held.get("key") != plan.key:
            raise UsageError(
                f"{plan.folder} is a cache of something else (key).",
                "Remove it and run `gasmcast cache` again.",
            )
        for shard in plan.shards:
            if not shard.is_file():
                raise UsageError(
                    f"{plan.folder} lacks {shard.name}.",
                    "Run `gasmcast cache` again: it fills what is missing.",
                )
            if verify:
                _verify(shard)
        self.plan, self.seed, self.draw = plan, seed, draw
        self._stored = np.array(held["labels"]).reshape(plan.views, plan.clips)
        self._clips = np.flatnonzero((self._stored >= 0).all(axis=0))
        self.samples = [samples[int(i)] for i in self._clips]
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # torch has no types here
        self._open: dict[Path, Any] = {}

    @property
    def labels(self) -> list[int]:
        """The class of each clip, as it is unmirrored."""
        return [int(label) for label in self._stored[0, self._clips]]

    @property
    def ids(self) -> list[str]:
        """The name of each clip."""
        return [sample.id for sample in self.samples]

    def plain(self) -> FeatureDataset:
        """The same clips as evaluation sees them."""
        twin = copy(self)  # __getstate__ leaves open files behind
        twin.draw = False
        return twin

    def set_epoch(self, epoch: int) -> None:
        """Draw views anew, in running workers too."""
        self._epoch.fill_(epoch)

    def check(self, model: GasmCast) -> None:
        """Whether the cache is of this model's weights.

        Raises:
            UsageError: it is not.
        """
        encoder = model.encoder
        streams = {"semantic weights": encoder.semantic, "motion weights": encoder.motion}
        if any(
            part is not None and self.plan.facts.get(name) != weights_sha(part)
            for name, part in streams.items()
        ):
            raise UsageError(
                f"{self.plan.folder} was made with other backbone weights.",
                "Run `gasmcast cache` with these weights.",
            )

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """One row, as `GasmCast.encode` takes it."""
        view = 0
        if self.draw and self.plan.views > 1:
            view = int(
                np.random.default_rng((self.seed, int(self._epoch), index)).integers(
                    self.plan.views
                )
            )
        clip = int(self._clips[index])
        return self._row(view * self.plan.clips + clip), int(self._stored[view, clip]), index

    def _row(self, row: int) -> Tensor:
        path = self.plan.shard(row // self.plan.shard_rows)
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
        found: Tensor = self._open[path].get_slice("rows")[row % self.plan.shard_rows]
        return found.reshape(-1)[slice(*self.plan.columns)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _verify(shard: Path) -> None:
    try:
        read_tensors(shard)
    except TornFileError as error:
        raise UsageError(
            error.what, "Run `gasmcast cache` again: it makes what is damaged anew."
        ) from None


def _explain(plan: CachePlan) -> str:
    """Why there is no such cache, as well as the neighbors tell."""
    out, split = plan.folder.parent, plan.folder.name.rsplit("-", 1)[0]
    if plan.folder.is_dir():
        return f"The cache {plan.folder} is unfinished."
    for other in sorted(out.glob(f"{split}-*/index.json")):
        theirs = read_json(other, dict).get("facts", {})
        differ = [
            name
            for name, value in plan.facts.items()
            if theirs.get(name) != json.loads(json.dumps(value))
        ]
        if differ:
            return f"The cache {other.parent} does not fit this run: it differs in {', '.join(differ)}."
    return f"There is no cache of the {split} split in {out}."
