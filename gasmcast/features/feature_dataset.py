"""A cache of backbone taps as a set of clips.

Training from it skips decoding and both backbones, and is otherwise the same.
"""

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
from gasmcast.data.shared_memory import share
from gasmcast.errors import UsageError
from gasmcast.features.cache_plan import CachePlan
from gasmcast.features.fingerprints import weights_sha
from gasmcast.files import read_json
from gasmcast.models.model import GasmCast
from gasmcast.tensorfile import TornFileError, read_tensors

__all__ = ["FeatureDataset"]


class FeatureDataset(Dataset[tuple[Tensor, int, int]]):
    """A cache as a set of clips: `(row (X,), label, index)`.

    `GasmCast.encode` takes batches of rows in place of clips. Clips that did not decode are left
    out. In training a view is drawn per clip and epoch.
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
            plan: from `plan_cache`, for the model, configuration and clips in use.
            samples: the clips.
            seed: seed of the views drawn.
            draw: draw a view at random (training); otherwise always the first.
            verify: compare every shard with its digest; not needed right after `fill_cache`.

        Raises:
            UsageError: there is no such cache, it is unfinished, or a shard is missing or altered.
        """
        labels = _read_labels(plan)
        _check_shards(plan, verify=verify)
        self.plan, self.seed, self.draw = plan, seed, draw

        # A clip counts only if all of its views decoded.
        self._labels = labels.reshape(plan.views, plan.clips)
        self._clips = np.flatnonzero((self._labels >= 0).all(axis=0))
        self.samples = [samples[int(i)] for i in self._clips]

        self._epoch = share(torch.zeros(1, dtype=torch.int64))
        self._open: dict[Path, Any] = {}

    @property
    def labels(self) -> list[int]:
        """Class of each clip, not mirrored."""
        return [int(label) for label in self._labels[0, self._clips]]

    @property
    def ids(self) -> list[str]:
        """Name of each clip."""
        return [sample.id for sample in self.samples]

    def plain(self) -> FeatureDataset:
        """Return the same clips as evaluation sees them."""
        twin = copy(self)  # __getstate__ leaves open files behind
        twin.draw = False
        return twin

    def set_epoch(self, epoch: int) -> None:
        """Use the draws of `epoch` from now on, in running workers too."""
        self._epoch.fill_(epoch)

    def check(self, model: GasmCast) -> None:
        """Check that the cache was made with this model's backbone weights.

        Raises:
            UsageError: it was made with others.
        """
        backbones = {"semantic": model.encoder.semantic, "motion": model.encoder.motion}
        for stream, backbone in backbones.items():
            if backbone is None:
                continue
            if self.plan.facts.get(f"{stream} weights") != weights_sha(backbone):
                raise UsageError(
                    f"{self.plan.folder} was made with other backbone weights.",
                    "Run `gasmcast cache` with these weights.",
                )

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return one row, its label and its index."""
        view = 0
        if self.draw and self.plan.views > 1:
            rng = np.random.default_rng((self.seed, int(self._epoch), index))
            view = int(rng.integers(self.plan.views))

        clip = int(self._clips[index])
        row = self._row(view * self.plan.clips + clip)
        return row, int(self._labels[view, clip]), index

    def _row(self, number: int) -> Tensor:
        """Return the model's part of a stored row, `(X,)`."""
        shard, row = divmod(number, self.plan.shard_rows)
        path = self.plan.shard(shard)
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")

        stored: Tensor = self._open[path].get_slice("rows")[row]
        return stored.reshape(-1)[self.plan.columns.start : self.plan.columns.stop]

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes open the files themselves.
        return {**self.__dict__, "_open": {}}


def _read_labels(plan: CachePlan) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the label of each row from the index of a finished cache."""
    index = plan.folder / "index.json"
    if not index.is_file():
        raise UsageError(_explain(plan), "Make it with `gasmcast cache` and the same settings.")

    # The folder's name has only a part of the key.
    content = read_json(index, dict, "key", "labels")
    if content["key"] != plan.key:
        raise UsageError(
            f"{plan.folder} is a cache of something else (key).",
            "Remove it and run `gasmcast cache` again.",
        )
    return np.array(content["labels"])


def _check_shards(plan: CachePlan, *, verify: bool) -> None:
    """Check that all shards exist and, with `verify`, that they match their digests."""
    for shard in plan.shards:
        if not shard.is_file():
            raise UsageError(
                f"{plan.folder} lacks {shard.name}.",
                "Run `gasmcast cache` again: it fills what is missing.",
            )

        # Comparing digests reads the whole cache once.
        if verify:
            try:
                read_tensors(shard)
            except TornFileError as error:
                raise UsageError(
                    error.what, "Run `gasmcast cache` again: it encodes damaged shards again."
                ) from None


def _explain(plan: CachePlan) -> str:
    """Return why there is no such cache, by comparison with other caches of the split."""
    out, split = plan.folder.parent, plan.folder.name.rsplit("-", 1)[0]
    if plan.folder.is_dir():
        return f"The cache {plan.folder} is unfinished."

    ours = json.loads(json.dumps(plan.facts))  # lists in place of tuples, as in the index
    # The nearest explanation is the first difference from a cache that does exist.
    for other in sorted(out.glob(f"{split}-*/index.json")):
        theirs = read_json(other, dict).get("facts", {})
        differing = [name for name, value in ours.items() if theirs.get(name) != value]
        if differing:
            return (
                f"The cache {other.parent} does not fit this run: it differs in"
                f" {', '.join(differing)}."
            )
    return f"There is no cache of the {split} split in {out}."
