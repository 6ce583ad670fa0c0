"""The figures of a set under the weights as they stand: what an epoch ends with."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.data.clip_set import ClipSet
from gasmcast.evaluation.metrics import log_softmax, mean_class, top_k
from gasmcast.evaluation.predict import predict
from gasmcast.progress import Progress, silent
from gasmcast.training.run import Session

__all__ = ["validate"]


def validate(
    session: Session, clips: ClipSet, progress: Progress = silent
) -> dict[str, float]:
    """`loss`, `top1`, `top5`, `mean_class`, under the averaged weights where there are; all processes must call it."""
    session.objective.eval()
    classes = len(session.labels)

    def run(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401  # an array, or features
        moved = session.to_device(
            torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch
        )
        first = moved if isinstance(moved, torch.Tensor) else moved[0]
        even = torch.full((len(first), classes), 1 / classes, device=session.accelerator.device)
        with torch.no_grad():
            return np.asarray(
                session.objective(moved, even).logits.float().cpu().numpy(), np.float32
            )

    train = session.config.train
    with session.average.applied() if session.average is not None else nullcontext():
        logits, labels = predict(
            run,
            clips,
            batch_size=train.batch_size,
            load=partial(session.loader.batches, of=1),
            progress=progress,
        )
    loss = float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return {
        "loss": loss,
        "top1": top_k(logits, labels),
        "top5": top_k(logits, labels, 5),
        "mean_class": mean_class(logits, labels),
    }
