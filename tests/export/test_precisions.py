import numpy as np
import pytest

from gasmcast.calibration.clips import Choice
from gasmcast.calibration.store import write_set
from gasmcast.data.annotations import read_split
from gasmcast.errors import UsageError
from gasmcast.export import precisions
from gasmcast.runtime.video import duration_s
from gasmcast.spec import ClipSpec

SPEC = ClipSpec(segments=4, motion_frames=2, semantic_frames=1, pixels=32)


@pytest.fixture
def stored(tiny_set, tmp_path):
    choices = [Choice(s, 1.0, duration_s(s.path)) for s in read_split(tiny_set, "train")[:7]]
    return write_set(tmp_path / "set", choices, SPEC, 0)


def test_a_few_clips_are_seen_whole_and_one_segment_of_every_other(stored, monkeypatch):
    monkeypatch.setattr(precisions, "HEAD_CLIPS", 3)
    seen = precisions._Seen(stored)
    assert (seen.whole, seen.parts) == ([0, 3, 6], [1, 2, 4, 5])
    feeds = [feed["segments"] for feed in seen.feeds()]
    assert len(feeds) == seen.runs
    assert sum(map(len, feeds)) == seen.segments == 4 + 3 * 4
    clips = list(stored.clips())
    np.testing.assert_array_equal(feeds[0][0], clips[1][1:3])
    np.testing.assert_array_equal(feeds[1][0], clips[2][2:4])
    np.testing.assert_array_equal(np.concatenate(feeds[seen.part_runs :])[:4, 1], clips[0][1:])


def test_what_is_wrong_with_a_clip_names_it(stored):
    seen = precisions._Seen(stored)
    next(seen.feeds())
    with pytest.raises(UsageError, match=rf"not numbers\. It was clip {stored.index.clips[0].id} of .*set"), seen.named():
        raise UsageError("Tensor x holds values that are not numbers.")


def test_a_small_set_is_seen_whole(stored):
    seen = precisions._Seen(stored)
    assert seen.part_runs == 0
    assert seen.segments == stored.index.segments
