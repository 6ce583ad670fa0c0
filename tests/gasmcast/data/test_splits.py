"""Splits by source: no source on both sides, every class on the training side, seeded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.data.annotations import read_split
from gasmcast.data.reading import leaks_of, open_index, read_as
from gasmcast.data.set_check import check_data
from gasmcast.data.splits import split_groups
from gasmcast.errors import UsageError


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=80),
    share=st.sampled_from([0.1, 0.2, 0.5]),
    seed=st.integers(0, 3),
)
def test_no_group_is_on_both_sides(rows: list[tuple[str, int]], share: float, seed: int) -> None:
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    held_out = split_groups(labels, groups, share, seed)
    inside = {g for g, out in zip(groups, held_out, strict=True) if out}
    assert not inside & {g for g, out in zip(groups, held_out, strict=True) if not out}
    # Every class can be learned.
    assert {label for label, out in zip(labels, held_out, strict=True) if not out} == set(labels)
    assert held_out == split_groups(labels, groups, share, seed)


def test_each_class_gets_its_share() -> None:
    rng = np.random.default_rng(0)
    labels = [str(i % 10) for i in range(1000)]
    groups = [str(group) for group in rng.integers(0, 200, 1000)]
    for seed in range(5):
        counts = Counter(
            label
            for label, out in zip(labels, split_groups(labels, groups, 0.2, seed), strict=True)
            if out
        )
        assert all(10 <= counts[str(label)] <= 30 for label in range(10))
    assert split_groups(labels, groups, 0.2, 0) != split_groups(labels, groups, 0.2, 1)


def test_a_leak_is_an_error_unless_it_is_allowed(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    path = tmp_path / "x.csv"
    path.write_text(
        "video,label,split,source\na,x,train,kitchen\nb,y,train,hall\nc,x,val,kitchen\nd,y,val,\n"
    )
    with pytest.raises(UsageError, match=r"1 source is in both .*\(kitchen\); .* 1 validation"):
        read_split(path, "train")
    read_as(allow_leak=True)
    try:
        assert read_split(path, "validation")[0].source == "kitchen"
    finally:
        read_as()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        # A test split is held out, too.
        ("a,x,train,hall,,\nb,x,test,hall,,", r"both train and test \(hall\); .* 1 test"),
        # One video is a leak, whatever sources are stated for its spans.
        ("a,x,train,hall,0,1\na,x,val,den,2,3", r"both train and validation \(.*/a.mp4\)"),
        ("a,x,train,hall,0,1\na,x,test,,2,3", r"both train and test \(.*/a.mp4\)"),
    ],
)
def test_leaks_into_test_and_by_video(tmp_path: Path, rows: str, says: str) -> None:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    path = tmp_path / "x.csv"
    path.write_text(f"video,label,split,source,start,end\n{rows}\n")
    with pytest.raises(UsageError, match=says):
        open_index(path)
    read_as(allow_leak=True)
    try:
        assert len(leaks_of(open_index(path))) == 1
        assert "LEAK ALLOWED" in check_data(path)
    finally:
        read_as()


def test_segments_of_one_video_stay_together(tmp_path: Path) -> None:
    rows = ["video,label,start,end"]
    for i in range(10):
        (tmp_path / f"{i}.mp4").write_bytes(b"x")
        rows += [f"{i}.mp4,x,0,1", f"{i}.mp4,y,2,3"]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows))
    index = open_index(path)
    assert index.is_split
    assert len(index.of_split("validation")) == 4
    sides = {clip.video: set() for clip in index.clips}
    for clip in index.clips:
        sides[clip.video].add(clip.split)
    assert all(len(side) == 1 for side in sides.values())
