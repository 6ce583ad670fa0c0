"""Targets of a student model: what a larger, trained model says about the same clips.

The classes of the annotations are blended with the probabilities of the teacher ("Distilling the
Knowledge in a Neural Network", Hinton et al. 2015, at temperature 1). A clip without a class has
the teacher's probabilities alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gasmcast.evaluation.teacher_opinion import POOLED

__all__ = ["TeacherTargets"]


@dataclass(frozen=True)
class TeacherTargets:
    """Probabilities of a teacher for the clips of a training set.

    Args:
        rows: row of each clip, by its id. A clip that the teacher could not read has none.
        probabilities: `(N, classes)` by read-out, and `pooled`.
        unlabelled: ids of the clips whose class is not known.
        share: weight of the teacher in the targets of clips with a class, 0..1.
    """

    rows: Mapping[str, int]
    probabilities: Mapping[str, Tensor]
    unlabelled: frozenset[str]
    share: float

    def blend(self, targets: Tensor, ids: Sequence[str], read_outs: Sequence[str]) -> Tensor:
        """Blend the targets of a batch with the teacher's probabilities.

        Args:
            targets: `(B, classes)` probabilities from the annotations.
            ids: the clips of the batch.
            read_outs: read-outs of the student that learn apart from each other. A read-out that
                the teacher lacks learns from all of the teacher's together.

        Returns:
            `(B, classes)`, or `(B, R, classes)` for R separate read-outs.
        """
        names = read_outs or (POOLED,)
        parts = [self.probabilities.get(name, self.probabilities[POOLED]) for name in names]
        table = torch.stack(parts, dim=1)  # (N, R, classes)

        # A clip that the teacher could not read keeps its class alone.
        rows = [self.rows.get(name, -1) for name in ids]
        shares = [
            0.0 if row < 0 else 1.0 if name in self.unlabelled else self.share
            for name, row in zip(ids, rows, strict=True)
        ]
        taught = table[[max(row, 0) for row in rows]].to(targets)  # (B, R, classes)
        weights = torch.tensor(shares).to(targets)[:, None, None]
        blended = torch.lerp(targets[:, None].expand_as(taught), taught, weights)
        return blended if read_outs else blended[:, 0]
