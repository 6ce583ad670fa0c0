"""ClipDataset: the runtime's pixels, draws independent of workers, and undecodable clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import Sample
from gasmcast.data.augment import draw_augmentation
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec, nearest_frames
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s, read_frames

SPEC = ClipSpec(segments=2, segment_s=0.25, motion_frames=4, semantic_frames=1, pixels=32)
AUGMENT = AugmentConfig(flip=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of 0.3 to 1.5 s whose gray level rises frame by frame."""
    folder = tmp_path_factory.mktemp("clips")
    for i, count in enumerate((6, 10, 20, 30)):
        writer = cv2.VideoWriter(
            str(folder / f"{i}.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48)
        )
        for k in range(count):
            frame = np.full((48, 64, 3), 20 + 7 * k, np.uint8)
            frame[:, :32] = 0
            writer.write(frame)
        writer.release()
    return folder


def samples(folder: Path, bad: int = 0) -> list[Sample]:
    good = [Sample(str(i), i % 2, str(folder / f"{i}.mp4")) for i in range(4)]
    return good + [Sample(f"bad{i}", 1, str(folder / f"missing{i}.mp4")) for i in range(bad)]


def test_evaluation_is_the_runtimes_centered_clip(folder: Path) -> None:
    dataset = ClipDataset(samples(folder), SPEC)
    for i, sample in enumerate(samples(folder)):
        clip, label, index = dataset[i]
        assert sample.path is not None
        expected = read_clip(
            sample.path, SPEC, max(0.0, (duration_s(sample.path) - SPEC.window_s) / 2)
        )
        assert np.array_equal(clip.numpy(), expected)
        assert (label, index) == (i % 2, i)


@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_workers_change_nothing(folder: Path, augment: AugmentConfig | None) -> None:
    dataset = ClipDataset(samples(folder), SPEC, augment, seed=3, swap={0: 1, 1: 0})
    alone = [dataset[i] for i in range(4)]
    for clips, labels, indices in DataLoader(dataset, batch_size=2, num_workers=2, shuffle=True):
        for clip, label, index in zip(clips, labels, indices, strict=True):
            assert torch.equal(clip, alone[int(index)][0])
            assert int(label) == alone[int(index)][1]


def test_epochs_draw_anew_and_repeat(folder: Path) -> None:
    dataset = ClipDataset(samples(folder), SPEC, AUGMENT, seed=3)
    first = dataset[3][0]
    dataset.set_epoch(1)
    second = dataset[3][0]
    dataset.set_epoch(0)
    assert torch.equal(dataset[3][0], first)
    assert not torch.equal(first, second)
    assert not torch.equal(ClipDataset(samples(folder), SPEC, AUGMENT, seed=4)[3][0], first)


def test_time_jitter_stays_within_the_clip(folder: Path) -> None:
    """The window lies within a long clip; a short clip lies within the window."""
    jitter = AugmentConfig(crop_scale=(1, 1), color_jitter=0, randaugment=None)
    dataset = ClipDataset(samples(folder), SPEC, jitter)
    length = duration_s(folder / "3.mp4")
    starts = [dataset._draw_window(length, np.random.default_rng(s))[0] for s in range(50)]
    assert 0 <= min(starts) < 0.2
    assert length - SPEC.window_s - 0.2 < max(starts) <= length - SPEC.window_s
    short = [dataset._draw_window(0.3, np.random.default_rng(s))[0] for s in range(50)]
    assert min(short) >= 0.3 - SPEC.window_s
    assert max(short) <= 0


def test_flip_swaps_the_label(folder: Path) -> None:
    """The dark half is on the left; mirrored it is on the right, and the class is the other one."""
    plain = AugmentConfig(crop_scale=(1, 1), color_jitter=0, randaugment=None, flip=True)
    dataset = ClipDataset(samples(folder), SPEC, plain, swap={0: 1, 1: 0})
    seen = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        clip, label, index = dataset[3]
        left, right = clip[..., :16, :].float().mean(), clip[..., 16:, :].float().mean()
        mirrored = bool(left > right)
        assert label == (0 if mirrored else 1)
        assert index == 3
        seen.add(mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize(
    # `most` is in gray levels of the mean difference: crops of smaller frames have blurred edges.
    ("augment", "most"),
    [
        (None, 0),
        (AugmentConfig(crop_scale=(1, 1), flip=True, randaugment=(2, 5)), 0),
        (AugmentConfig(flip=True, randaugment=None), 2),
    ],
)
def test_preloaded_clips_are_the_same(
    folder: Path, augment: AugmentConfig | None, most: float
) -> None:
    fresh, kept = (
        ClipDataset(samples(folder), SPEC, augment),
        ClipDataset(samples(folder), SPEC, augment),
    )
    assert kept.preload(1 << 30)
    for epoch in range(5):
        fresh.set_epoch(epoch)
        kept.set_epoch(epoch)
        for i in range(4):
            a, b = fresh[i], kept[i]
            assert a[1:] == b[1:]
            assert a[0].shape == b[0].shape
            assert (a[0].float() - b[0].float()).abs().mean() <= most
    assert not ClipDataset(samples(folder), SPEC, augment).preload(1000)


def test_a_bad_clip_is_replaced_named_and_counted(folder: Path) -> None:
    dataset = ClipDataset(samples(folder, 1) + samples(folder) * 40, SPEC, AUGMENT)
    clip, _, index = dataset[4]
    assert index != 4
    assert clip.any()
    assert torch.equal(dataset[4][0], clip)
    assert dataset.failures() == ["bad0"]
    for _ in DataLoader(dataset, batch_size=32, num_workers=1):
        pass
    assert dataset.failures() == ["bad0"]


def test_a_bad_clip_is_marked_from_a_worker(folder: Path) -> None:
    dataset = ClipDataset(samples(folder, 1) + samples(folder) * 40, SPEC)
    rows = list(DataLoader(dataset, batch_size=None, num_workers=2))
    assert dataset.failures() == ["bad0"]
    assert not rows[4][0].any()
    assert len(rows) == len(dataset)


def test_too_many_bad_clips_stop_the_run(folder: Path) -> None:
    dataset = ClipDataset(samples(folder, 2) + samples(folder) * 40, SPEC)
    dataset[4]
    with pytest.raises(
        SourceError, match=r"2 of 166 clips do not decode \(bad0, bad1\), above 1%"
    ) as caught:
        dataset[5]
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module", params=[5, 12, 30])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5 s of frames in different colors, at lower and higher rates than the slots of `GRID`."""
    path = tmp_path_factory.mktemp("rates") / f"{request.param}.mp4"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), request.param, (96, 64)
    )
    rng = np.random.default_rng(request.param)
    for _ in range(int(1.5 * request.param)):
        writer.write(cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), (96, 64)))
    writer.release()
    return path


GRID = ClipSpec(segments=2, motion_frames=8, semantic_frames=2, pixels=32)  # 16 slots a second


def test_augmented_once_and_repeated_is_every_slot_augmented_apart(video: Path) -> None:
    dataset = ClipDataset([Sample("a", 0, str(video))], GRID, AUGMENT, seed=5)
    stamps, frames = zip(*read_frames(video), strict=True)
    for epoch in range(12):
        dataset.set_epoch(epoch)
        rng = np.random.default_rng((5, epoch, 0))
        slots = GRID.slot_times(dataset._draw_window(dataset.length_s(0), rng)[0])
        chosen = nearest_frames(np.array(stamps), slots)
        first = frames[chosen[0]]
        drawn = draw_augmentation(rng, AUGMENT, GRID, lambda first=first: first)
        apart = np.stack([drawn.colored(drawn.placed(frames[i])) for i in chosen])
        assert np.array_equal(dataset[0][0].numpy(), apart.reshape(GRID.clip_shape))


@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_a_clip_written_into_memory_that_is_there_is_the_clip(
    video: Path, augment: AugmentConfig | None
) -> None:
    dataset = ClipDataset([Sample("a", 0, str(video))], GRID, augment)
    batch = torch.full((2, *GRID.clip_shape), 7, dtype=torch.uint8)
    assert dataset.write(0, batch[1]) == (0, 0)
    assert torch.equal(batch[1], dataset[0][0])
    assert (batch[0] == 7).all()


def test_a_bad_clip_leaves_nothing_of_what_was_in_the_memory() -> None:
    dataset = ClipDataset(
        [Sample("a", 3, "missing.mp4")] + [Sample(str(i), 0, "missing.mp4") for i in range(100)],
        GRID,
    )
    room = torch.full(GRID.clip_shape, 7, dtype=torch.uint8)
    assert dataset.write(0, room) == (3, 0)
    assert not room.any()


def test_twice_the_speed_shows_twice_the_time_in_one_window(folder: Path) -> None:
    """The gray level rises with time, so over a window it rises twice as far."""
    still = {"crop_scale": (1.0, 1.0), "color_jitter": 0.0, "randaugment": None}
    one = ClipDataset(samples(folder), SPEC, AugmentConfig(**still))
    two = ClipDataset(samples(folder), SPEC, AugmentConfig(**still, speed=(2.0, 2.0)))

    def rise(dataset: ClipDataset) -> float:
        clip = dataset[3][0][1:].float().mean((2, 3, 4)).flatten()  # (segments * frames,)
        return float(clip[-1] - clip[0])

    assert rise(two) == pytest.approx(2 * rise(one), rel=0.25)


def test_speeds_are_drawn_within_their_range(folder: Path) -> None:
    dataset = ClipDataset(samples(folder), SPEC, AugmentConfig(speed=(0.5, 2.0)))
    drawn = [dataset._draw_window(100.0, np.random.default_rng(seed))[1] for seed in range(200)]
    assert 0.5 <= min(drawn) < 0.6
    assert 1.7 < max(drawn) <= 2.0


@pytest.mark.parametrize("speed", [(2.0, 1.0), (0.0, 1.0), (1.0, 100.0)])
def test_a_speed_that_is_none(speed: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="the slower speed first"):
        AugmentConfig(speed=speed)
