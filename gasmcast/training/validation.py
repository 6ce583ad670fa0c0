"""Evaluate the present weights on the validation clips."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.data.clip_set import ClipSet
from gasmcast.evaluation.metrics import log_softmax, mean_class, top_k
from gasmcast.evaluation.predict import predict
from gasmcast.progress import Progress, silent
from gasmcast.training.run import TrainingRun

__all__ = ["validate"]


def validate(run: TrainingRun, clips: ClipSet, progress: Progress = silent) -> dict[str, float]:
    """Return `loss`, `top1`, `top5` and `mean_class` of the weights that are evaluated.

    These are the averaged weights, if there are any. All processes must call it.

    Args:
        run: the run; its loader serves `clips` as the second set.
        clips: the validation clips.
        progress: called after each batch.
    """
    run.objective.eval()
    classes = len(run.labels)

    def classify(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 - an array, or features
        moved = run.to_device(torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch)

        first = moved if isinstance(moved, torch.Tensor) else moved[0]
        # The objective wants targets, although only its logits are used.
        even = torch.full((len(first), classes), 1 / classes, device=run.processes.device)
        with torch.no_grad():
            logits = run.objective(moved, even).logits
        return np.asarray(logits.float().cpu().numpy(), np.float32)

    # Workers of the training serve the validation clips, too.
    with run.averaged_weights():
        logits, labels = predict(
            classify,
            clips,
            batch_size=run.config.train.batch_size,
            load=partial(run.loader.batches, of=1),
            processes=run.processes,
            progress=progress,
            stage="validating",
        )

    # Without label smoothing, unlike the training loss.
    loss = float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())
    return {
        "loss": loss,
        "top1": top_k(logits, labels),
        "top5": top_k(logits, labels, 5),
        "mean_class": mean_class(logits, labels),
    }
