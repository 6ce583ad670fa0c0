"""Targets of training clips that differ from their class.

A student's classes are blended with the probabilities of its teacher ("Distilling the Knowledge in
a Neural Network", Hinton et al. 2015, at temperature 1). A clip without a class has the teacher's
probabilities alone; background has the same probability for every class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gasmcast.evaluation.teacher_opinion import POOLED

__all__ = ["ClipTargets"]


@dataclass(frozen=True)
class ClipTargets:
    """Probabilities for clips of a training set, blended with their classes.

    Args:
        rows: row of each clip, by its id. A clip that has its class alone has none.
        probabilities: `(N, classes)` by read-out, and `pooled`.
        no_class: ids of the clips without a class.
        share: weight of the probabilities in the targets of clips with a class, 0..1.
    """

    rows: Mapping[str, int]
    probabilities: Mapping[str, Tensor]
    no_class: frozenset[str]
    share: float

    def blend(self, targets: Tensor, ids: Sequence[str], read_outs: Sequence[str]) -> Tensor:
        """Blend the targets of a batch with the probabilities of its clips.

        Args:
            targets: `(B, classes)` probabilities from the annotations.
            ids: the clips of the batch.
            read_outs: read-outs that learn apart from each other. A read-out without probabilities
                of its own learns from those of all together.

        Returns:
            `(B, classes)`, or `(B, R, classes)` for R separate read-outs.
        """
        names = read_outs or (POOLED,)
        parts = [self.probabilities.get(name, self.probabilities[POOLED]) for name in names]
        table = torch.stack(parts, dim=1)  # (N, R, classes)

        # A clip without a row keeps its class alone.
        rows = [self.rows.get(name, -1) for name in ids]
        shares = [
            0.0 if row < 0 else 1.0 if name in self.no_class else self.share
            for name, row in zip(ids, rows, strict=True)
        ]
        taught = table[[max(row, 0) for row in rows]].to(targets)  # (B, R, classes)
        weights = torch.tensor(shares).to(targets)[:, None, None]
        blended = torch.lerp(targets[:, None].expand_as(taught), taught, weights)
        return blended if read_outs else blended[:, 0]
