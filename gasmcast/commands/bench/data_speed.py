"""Speed of reading clips, by stage, against the limit of the video decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import Sample
from gasmcast.data.clip_reader import clip_frames
from gasmcast.data.data_workers import start_worker
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.loader import ClipLoader
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec
from gasmcast.stopwatch import fastest_each_s
from gasmcast.video.clip import pick_frames

__all__ = ["DataSpeed", "measure_data"]


@dataclass(frozen=True)
class DataSpeed:
    """Clips per second: `one_*` in this process, `loader_*` with `workers` processes."""

    clips: int
    """Number of clips that were measured."""
    workers: int
    """Processes of the loader."""
    one_decode: float
    """The decoder's limit: frames of the training windows decoded to RGB, nothing else."""
    one_evaluation: float
    """Decoded and resized: a clip as evaluation sees it."""
    one_training: float
    """Decoded, cropped and augmented: a clip as training sees it."""
    loader_decode: float
    """The decoder's limit in `workers` processes."""
    loader_training: float
    """Training batches from `workers` processes."""

    @property
    def share(self) -> float:
        """Share of the decoder's limit that the loader reaches with its workers."""
        return self.loader_training / self.loader_decode

    @property
    def one_share(self) -> float:
        """Share of the decoder's limit that one process reaches without a loader."""
        return self.one_training / self.one_decode

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the shares."""
        return {**asdict(self), "share": self.share, "one_share": self.one_share}


class _Decoded(Dataset[int]):
    """Clips that are decoded and discarded, the upper limit of any loader."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> int:
        """Decode clip `index` and return the number of frames of its training window."""
        # The same frames as training reads, but no tensor is made of them.
        sample = self.clips.samples[index]
        slots = self.clips.spec.slot_times(self.clips.start_s(index))
        return sum(1 for _ in pick_frames(clip_frames(sample, threads=1), slots))


def measure_data(
    samples: Sequence[Sample],
    spec: ClipSpec,
    augment: AugmentConfig,
    *,
    workers: int,
    batch_size: int = 8,
    repeats: int = 3,
    progress: Progress = silent,
) -> DataSpeed:
    """Measure every stage on the same clips, in turns, and return the best of each stage.

    Args:
        samples: the clips; they are read once before, so that all stages find them in the page
            cache.
        spec: the clip spec.
        augment: augmentation of training clips.
        workers: processes of the loader; 0: this one.
        batch_size: clips per batch.
        repeats: turns.
        progress: called with the name of each stage before it runs.

    Raises:
        SourceError: a clip cannot be decoded.
    """
    plain, augmented = ClipDataset(samples, spec), ClipDataset(samples, spec, augment)
    decoded = _Decoded(augmented)

    # Fixed batches, so that every stage reads the same clips.
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
    loader = ClipLoader(augmented, workers=workers)

    # Clips are written into one reused buffer, as the loader does.
    buffer = torch.empty(spec.clip_shape, dtype=torch.uint8)

    stages: dict[str, Callable[[], Any]] = {
        "one_decode": lambda: [decoded[i] for i in range(len(decoded))],
        "one_evaluation": lambda: [plain.write(i, buffer) for i in range(len(plain))],
        "one_training": lambda: [augmented.write(i, buffer) for i in range(len(augmented))],
        "loader_decode": lambda: list(limit),
        # Touch every page of a batch, as a copy to the GPU would.
        "loader_training": lambda: [
            int(batch.clips.reshape(-1)[::4096].sum()) for batch in loader.batches(order)
        ],
    }

    # Fill the page cache, or the first stage would measure the disk.
    for sample in samples:
        if sample.path is not None:
            sample.path.read_bytes()
    fastest = fastest_each_s(stages, repeats, progress)
    return DataSpeed(
        clips=len(samples),
        workers=workers,
        **{name: len(samples) / seconds for name, seconds in fastest.items()},
    )
