from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.calibration.choose_clips import Choice
from gasmcast.calibration.clip_store import write_set
from gasmcast.data.annotations import read_split
from gasmcast.errors import UsageError
from gasmcast.export.precisions import calibration_feeds
from gasmcast.export.precisions import prepare as precisions
from gasmcast.spec import ClipSpec
from gasmcast.video.reader import duration_s

SPEC = ClipSpec(segments=4, motion_frames=2, semantic_frames=1, pixels=32)


@pytest.fixture
def stored(tiny_set, tmp_path):
    choices = [Choice(s, 1.0, duration_s(s.path)) for s in read_split(tiny_set, "train")[:7]]
    return write_set(tmp_path / "set", choices, SPEC, 0)


def test_a_few_clips_are_seen_whole_and_one_segment_of_every_other(stored, monkeypatch):
    monkeypatch.setattr(calibration_feeds, "HEAD_CLIPS", 3)
    seen = calibration_feeds.EncoderFeeds(stored)
    assert (seen.whole, seen.single) == ([0, 3, 6], [1, 2, 4, 5])
    feeds = [feed["segments"] for feed in seen.feeds()]
    assert len(feeds) == seen.runs
    assert sum(map(len, feeds)) == seen.segments == 4 + 3 * 4
    clips = list(stored.clips())
    np.testing.assert_array_equal(feeds[0][0], clips[1][1:3])
    np.testing.assert_array_equal(feeds[1][0], clips[2][2:4])
    np.testing.assert_array_equal(np.concatenate(feeds[seen.single_runs :])[:4, 1], clips[0][1:])


def test_what_is_wrong_with_a_clip_names_it(stored):
    seen = calibration_feeds.EncoderFeeds(stored)
    next(seen.feeds())
    with (
        pytest.raises(
            UsageError, match=rf"not numbers\. It was clip {stored.index.clips[0].id} of .*set"
        ),
        seen.name_clip_in_errors(),
    ):
        raise UsageError("Tensor x holds values that are not numbers.")


def test_a_small_set_is_seen_whole(stored):
    seen = calibration_feeds.EncoderFeeds(stored)
    assert seen.single_runs == 0
    assert seen.segments == stored.index.segments


@pytest.mark.parametrize("count", [5, 16, 100])
def test_fp16_sees_segments_of_all_clips(stored, count):
    shown = [feed["segments"] for feed in calibration_feeds.EncoderFeeds(stored).spread(count)]
    assert [pair.shape for pair in shown] == [(1, *SPEC.pair_shape)] * min(count, 28)
    clips = list(stored.clips())
    owner = [
        next(
            i
            for i, clip in enumerate(clips)
            for s in range(4)
            if np.array_equal(pair[0], clip[s : s + 2])
        )
        for pair in shown
    ]
    assert owner == sorted(owner)
    assert len(set(owner)) == min(count, 7)
    np.testing.assert_array_equal(shown[-1][0], clips[-1][3:5])


@pytest.mark.parametrize("int8", [True, False])
def test_all_that_runs_has_the_threads_that_were_asked_for(stored, tmp_path, monkeypatch, int8):
    seen = []

    def encode(feed):
        return {"semantic": np.zeros((len(feed["segments"]), 1), np.float32)}

    def collect_ranges(_, feeds, recipe, policy, *, progress, stage, total, threads, keep=None):
        seen.append(("calibrate", threads))
        for run, feed in enumerate(feeds()):
            if keep is not None:
                keep(run, encode(feed))
        return SimpleNamespace(model=None)

    def measure_largest(_, feeds, threads):
        seen.append((len(list(feeds)), threads))

    def open_uncached(_, threads):
        seen.append(("encode", threads))
        return SimpleNamespace(run=encode)

    monkeypatch.setattr(precisions, "load_graph", lambda _: None)
    monkeypatch.setattr(precisions, "collect_ranges", collect_ranges)
    monkeypatch.setattr(precisions, "measure_largest", measure_largest)
    monkeypatch.setattr(precisions, "open_uncached", open_uncached)
    precisions.prepare({"encoder": None, "head": None}, stored, tmp_path, int8=int8, threads=3)
    first = [("calibrate", 3), ("calibrate", 3)] if int8 else [("encode", 3)]
    assert seen == [*first, (16, 3), (7, 3)]
