"""Judge runs of `tempo.py` with windows of several lengths, and with other uses of them.

    python docs/experiments/window_lengths.py FOLDER

FOLDER is that of `tempo.py --preset small-data --rows 1`. The validation clips of three of its
campaigns are encoded once, in windows of 0.5 to 2 times the length of the training, centered. A row
of the table is top-1 in %, the mean of the seeds with the seeds in brackets:

- with windows of one length;
- mean: of the log-probabilities of all five lengths; surest: the answer of the most confident one;
- half from features: half a window in which each encoded segment counts twice;
- own statistics: the trained length, with the statistics of the taps measured on the campaign.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gasmcast.data.clip_reader import clip_length_s, read_sample
from gasmcast.data.sample import Sample
from gasmcast.evaluation.metrics import log_softmax
from gasmcast.features.openvino_taps import OpenVinoTaps
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.model import GasmCast
from gasmcast.models.shape import Features
from gasmcast.training.inputs.training_set import open_training_set

CAMPAIGNS = {
    "as recorded": "data",
    "twice as fast": "campaign-2-1-1-0",
    "half as fast": "campaign-0.5-1-1-0",
}
LENGTHS = (0.5, 0.707, 1.0, 1.414, 2.0)
TRAINED = LENGTHS.index(1.0)
TWICE = [2, 2, 3, 3, 4, 4, 5, 5]
"""The middle half of eight segments, each twice."""


def main() -> None:
    """Encode the campaigns and print the table."""
    folder = Path(sys.argv[1])
    runs = sorted(folder.glob("speed-1-*"))
    for name, place in CAMPAIGNS.items():
        opened = open_training_set(
            runs[0] / "config.yaml", folder / place, {"train.cache_views": 0}, preload=False
        )
        assert opened.validation is not None
        samples = opened.validation.samples
        rows = encoded(runs[0], samples, folder / f"lengths-{place}.pt")
        labels = np.array([sample.label for sample in samples])

        table: dict[str, list[float]] = {}
        for run in runs:
            for row, scores in judge(run, rows).items():
                table.setdefault(row, []).append(100 * float((scores.argmax(1) == labels).mean()))
        for row, top1 in table.items():
            seeds = ", ".join(f"{value:.1f}" for value in top1)
            print(f"{name}, {row}: {mean(top1):.1f} ({seeds})", flush=True)


def encoded(run: Path, samples: list[Sample], store: Path) -> Tensor:
    """Return the features `(N, lengths, X)` of clips in windows of all lengths."""
    if store.exists():
        rows: Tensor = torch.load(store, weights_only=True)
        return rows
    model = load_checkpoint(run / "best.safetensors")[0].eval()
    taps = OpenVinoTaps(model)
    parts = []
    for sample in samples:
        length_s = clip_length_s(sample)
        clips = []
        for length in LENGTHS:
            spec = model.spec.at_tempo(1 / length)
            clips.append(read_sample(sample, spec, (length_s - spec.window_s) / 2))
        parts.append(taps(torch.from_numpy(np.stack(clips))).half())
    rows = torch.stack(parts)
    torch.save(rows, store)
    return rows


def judge(run: Path, rows: Tensor) -> dict[str, NDArray[np.floating]]:
    """Return log-probabilities `(N, classes)` of a run by row of the table."""
    model = load_checkpoint(run / "best.safetensors")[0].eval()
    scores = {f"length {length:g}": classify(model, rows[:, i]) for i, length in enumerate(LENGTHS)}
    every = np.stack(list(scores.values()))  # (lengths, N, classes)
    scores["mean"] = every.mean(0)
    surest = every.max(-1).argmax(0)  # (N,)
    scores["surest"] = every[surest, np.arange(every.shape[1])]
    scores["half from features"] = classify(model, rows[:, TRAINED], TWICE)
    model.fit_tap_statistics([rows[:, TRAINED].float()])
    scores["own statistics"] = classify(model, rows[:, TRAINED])
    return scores


@torch.inference_mode()
def classify(
    model: GasmCast, rows: Tensor, segments: list[int] | None = None
) -> NDArray[np.floating]:
    """Return log-probabilities `(N, classes)` of rows `(N, X)`, or of some of their segments."""
    features = model.encode(rows.float())
    if segments is not None:
        features = Features(features.semantic[:, segments], features.motion[:, segments])
    return log_softmax(model.classify(features).numpy())


if __name__ == "__main__":
    main()
