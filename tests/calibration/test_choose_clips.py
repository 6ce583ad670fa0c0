import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.calibration.choose_clips import choose_clips, quotas, rough_motion, spread
from gasmcast.calibration.clip_store import CalibrationSet, write_set
from gasmcast.data.annotations import Sample
from gasmcast.errors import UsageError
from gasmcast.spec import ClipSpec

SPEC = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)


def video(path, speed, frames=24, fps=12.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (48, 40))
    for i in range(frames):
        image = np.full((40, 48, 3), 60, np.uint8)
        image[:, int(i * speed) % 48 : int(i * speed) % 48 + 8] = 220
        writer.write(image)
    writer.release()
    return str(path)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    made = [
        Sample(f"{c}-{i}", c, video(folder / f"{c}-{i}.mp4", speed=i * 2))
        for c in range(3)
        for i in range(4)
    ]
    broken = folder / "broken.mp4"
    broken.write_bytes(b"not a video")
    return [
        *made,
        Sample("broken", 2, str(broken)),
        Sample("gone", 1, None),
        Sample("unlabeled", None, made[0].video),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 80))
def test_quotas_are_as_equal_as_the_classes_allow(labels, count):
    wanted = quotas(labels, count, np.random.default_rng(0))
    have = np.bincount(labels, minlength=7)
    assert sum(wanted.values()) == min(count, len(labels))
    assert all(wanted[c] <= have[c] for c in wanted)
    rest = [wanted[c] for c in wanted if wanted[c] < have[c]]
    assert not rest or max(rest) - min(rest) <= 1
    assert not rest or max(wanted.values()) - min(rest) <= 1


def test_spread_takes_the_extremes_and_the_middle():
    features = np.column_stack([np.linspace(0, 1, 21), np.zeros(21)])
    chosen = spread(features, 3)
    assert len(chosen) == 3
    assert {0, 20} <= set(chosen) or (min(chosen) <= 1 and max(chosen) >= 19)


def test_motion_is_none_when_nothing_moves_and_grows_with_change():
    still = np.full((3, 2, 32, 32, 3), 90, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 255, still.shape).astype(np.uint8)
    assert rough_motion(still) == 0.0
    assert rough_motion(noisy) > 50


def test_the_choice_is_balanced_seeded_and_says_what_it_could_not_read(samples):
    chosen, unread = choose_clips(samples, SPEC, 6, seed=1)
    again, _ = choose_clips(samples, SPEC, 6, seed=1)
    assert [c.sample.id for c in chosen] == [c.sample.id for c in again]
    assert np.bincount([c.sample.label for c in chosen]).tolist() == [2, 2, 2]
    assert set(unread) <= {"broken"}
    assert {c.sample.id for c in chosen}.isdisjoint({"broken", "gone", "unlabeled"})


def test_the_first_few_of_a_choice_are_of_several_classes(samples):
    """The sensitivity and the ranges of FP16 use the first clips: they must span classes."""
    prefixes = [
        {c.sample.label for c in choose_clips(samples, SPEC, 12, seed=seed)[0][:4]}
        for seed in range(3)
    ]
    assert max(map(len, prefixes)) == 3
    assert min(map(len, prefixes)) >= 2


def test_nothing_to_choose_from_is_a_sentence(samples):
    with pytest.raises(UsageError, match="no clip with a label"):
        choose_clips([s for s in samples if s.label is None], SPEC, 4)
    with pytest.raises(UsageError, match="can be read"):
        choose_clips([s for s in samples if s.id == "broken"], SPEC, 4)


def test_the_window_is_the_one_evaluation_takes():
    assert ClipSpec().centered_start(10.0) == 3.0
    assert ClipSpec().centered_start(2.0) == 0.0


@pytest.fixture
def stored(samples, tmp_path):
    chosen, _ = choose_clips(samples, SPEC, 6, seed=1)
    return write_set(tmp_path / "set", chosen, SPEC, 1)


def test_a_set_reads_back_what_was_chosen(stored, samples):
    from gasmcast.video.clip import read_clip
    from gasmcast.video.reader import duration_s

    again = CalibrationSet.open(stored.folder, SPEC)
    assert again.index.segments == 6 * SPEC.segments
    paths = {s.id: s.path for s in samples}
    for entry, clip in zip(again.index.clips, again.clips(), strict=True):
        assert clip.shape == SPEC.clip_shape
        path = paths[entry.id]
        exact = read_clip(path, SPEC, SPEC.centered_start(duration_s(path)))
        assert np.abs(clip.astype(int) - exact).mean() < 6  # JPEG


@pytest.mark.parametrize("harm", ["altered", "truncated", "gone", "index"])
def test_a_damaged_set_is_refused(stored, harm):
    frames = stored.folder / "frames.bin"
    data = bytearray(frames.read_bytes())
    if harm == "altered":
        data[len(data) // 2] ^= 255
        frames.write_bytes(bytes(data))
    elif harm == "truncated":
        frames.write_bytes(bytes(data[:-10]))
    elif harm == "gone":
        frames.unlink()
    else:
        (stored.folder / "index.json").write_text("{}")
    with pytest.raises(UsageError, match=r"checksum|damaged"):
        CalibrationSet.open(stored.folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index | {"format_version": 0}, "format version 0"),
        (
            lambda index: index["clips"][0].update(sizes=index["clips"][0]["sizes"][:-1]) or index,
            "does not fit",
        ),
        (
            lambda index: index["clips"][1].update(offset=index["clips"][1]["offset"] + 1) or index,
            "does not fit",
        ),
        (lambda index: index["clips"].pop() and index, "does not fit"),
    ],
)
def test_an_altered_index_is_refused(stored, change, said):
    path = stored.folder / "index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match=said):
        CalibrationSet.open(stored.folder)


def test_a_set_of_another_clip_spec_names_the_difference(stored):
    with pytest.raises(UsageError, match="pixels 32, not 64"):
        CalibrationSet.open(stored.folder, SPEC.model_copy(update={"pixels": 64}))


def test_too_few_clips_are_refused_and_leave_nothing(samples, tmp_path):
    chosen, _ = choose_clips(samples, SPEC, 3)
    with pytest.raises(UsageError, match="too few"):
        write_set(tmp_path / "few", chosen, SPEC, 0)
    assert not (tmp_path / "few").exists()


def test_no_set_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"no index\.json"):
        CalibrationSet.open(tmp_path)
