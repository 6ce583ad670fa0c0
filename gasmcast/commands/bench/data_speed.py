"""How fast clips can be had, by stage, against the decoder's own limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import Sample
from gasmcast.data.data_workers import start_worker
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.loader import ClipLoader
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import pick_frames
from gasmcast.video.reader import read_frames

__all__ = ["DataSpeed", "measure_data"]


@dataclass(frozen=True)
class DataSpeed:
    """Clips a second; `one` process in this one, `loader` with `workers` processes."""

    clips: int
    workers: int
    one_decode: float  # frames of the training windows decoded and turned to RGB, nothing more: the decoder's limit
    one_evaluation: float  # and fitted: a clip as evaluation sees it
    one_training: float  # or cropped and augmented: a clip as training sees it
    loader_decode: float  # the decoder's limit in `workers` processes
    loader_training: float  # whole training batches from `workers` processes

    @property
    def share(self) -> float:
        """Of the decoder's limit that the loader reaches with its workers."""
        return self.loader_training / self.loader_decode

    @property
    def one_share(self) -> float:
        """The same of one process, without a loader."""
        return self.one_training / self.one_decode

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the shares."""
        return {**asdict(self), "share": self.share, "one_share": self.one_share}


class _Decoded(Dataset[int]):
    """Clips decoded and thrown away: what no loader can beat."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> int:
        """How many frames the training window of clip `index` takes."""
        path = self.clips.samples[index].path
        assert path is not None
        slots = self.clips.spec.slot_times(self.clips.start_s(index))
        return sum(1 for _ in pick_frames(read_frames(path, threads=1), slots))


def measure_data(
    samples: Sequence[Sample],
    spec: ClipSpec,
    augment: AugmentConfig,
    *,
    workers: int,
    batch_size: int = 8,
    repeats: int = 3,
    on_stage: Callable[[str], None] | None = None,
) -> DataSpeed:
    """Measure every stage on the same clips, in turns, and take each stage's best.

    Args:
        samples: the clips; they are read once before, so that the disk's cache holds them for all stages.
        spec: the sampling contract.
        augment: what training draws.
        workers: processes of the loader; 0: this one.
        batch_size: clips a batch.
        repeats: turns.
        on_stage: called with the name of each stage as it begins.

    Raises:
        SourceError: clips that do not decode.
    """
    plain, drawn = ClipDataset(samples, spec), ClipDataset(samples, spec, augment)
    decoded = _Decoded(drawn)
    order = [
        list(range(first, min(first + batch_size, len(samples))))
        for first in range(0, len(samples), batch_size)
    ]
    limit: DataLoader[int] = DataLoader(
        decoded,
        batch_sampler=order,
        num_workers=workers,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
    )
    loader = ClipLoader(drawn, workers=workers)
    room = torch.empty(spec.clip_shape, dtype=torch.uint8)  # used again, as the loader's is
    stages: dict[str, Callable[[], Any]] = {
        "one_decode": lambda: [decoded[i] for i in range(len(decoded))],
        "one_evaluation": lambda: [plain.write(i, room) for i in range(len(plain))],
        "one_training": lambda: [drawn.write(i, room) for i in range(len(drawn))],
        "loader_decode": lambda: list(limit),
        # Every page of a batch is looked at, as whoever takes it to a GPU would.
        "loader_training": lambda: [
            int(batch.clips.reshape(-1)[::4096].sum()) for batch in loader.batches(order)
        ],
    }
    for sample in samples:
        if sample.path is not None:
            sample.path.read_bytes()
    best = dict.fromkeys(stages, np.inf)
    for _ in range(repeats):
        for name, run in stages.items():
            if on_stage is not None:
                on_stage(name)
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return DataSpeed(
        clips=len(samples),
        workers=workers,
        **{name: len(samples) / seconds for name, seconds in best.items()},
    )
