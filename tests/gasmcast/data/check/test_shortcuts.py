"""Shortcuts: each property is found alone, and chance in a few sources is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gasmcast.data.check.shortcuts import PROPERTIES, Shortcut, find_shortcuts
from gasmcast.video.file_facts import FileFacts

SOURCES = 12
"""Sources of each class in a set where each clip is one."""


def found(
    plant: Callable[[FileFacts, bool], FileFacts],
    *,
    lengths: tuple[float, float] = (0, 0),
    sources: list[str] | None = None,
) -> dict[str, Shortcut]:
    """Return what is found in two classes of like files, of which the second is changed."""
    rng = np.random.default_rng(0)
    facts, seconds = [], []
    labels = ["closing"] * SOURCES + ["opening"] * SOURCES
    for label in labels:
        second = label == "opening"
        length_s, rate = rng.uniform(2, 60), rng.uniform(1e5, 2e5)
        codec, encoder = rng.choice(["h264", "hevc"]), rng.choice(["Lavf60", "phone", ""])
        fps = float(rng.choice([25.0, 30.0]))
        width = int(rng.choice([640, 1280]))
        file = FileFacts(width, 480, fps, length_s, codec, encoder, int(rate * length_s))
        facts.append(plant(file, second))
        seconds.append(float(rng.uniform(2, 4)) + lengths[second])
    sources = sources or [str(number) for number in range(len(labels))]
    return {one.name: one for one in find_shortcuts(facts, seconds, labels, sources)}


PLANTS: dict[str, Callable[[FileFacts, bool], FileFacts]] = {
    "codec": lambda f, second: replace(f, codec="vp9" if second else f.codec),
    "encoder": lambda f, second: replace(f, encoder="HandBrake" if second else f.encoder),
    "frame rate": lambda f, second: replace(f, fps=15.0 if second else f.fps),
    "resolution": lambda f, second: replace(f, height=540 if second else f.height),
    "bytes per second": lambda f, second: replace(f, size_bytes=f.size_bytes * (1 + 2 * second)),
    "file size": lambda f, second: replace(
        f, size_bytes=(9 if second else 1) * 10**6, seconds=f.seconds * (1 + 8 * second)
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_each_property_that_is_planted_is_found_alone(name: str) -> None:
    result = found(PLANTS[name])
    # All properties together are one more entry, which a tree may read as well or worse.
    flagged = {key for key, one in result.items() if one.is_shortcut} - {"all together"}
    # The size of a file shows its rate as well, with noise.
    assert flagged - ({"file size"} if name == "bytes per second" else set()) == {name}
    assert result[name].accuracy == 1.0
    assert result[name].one_source == ()


def test_the_length_of_the_clips_is_found() -> None:
    result = found(lambda file, _: file, lengths=(0.0, 3.0))
    assert {k for k, one in result.items() if one.is_shortcut} - {"all together"} == {"duration"}


def test_like_files_are_no_shortcut() -> None:
    result = found(lambda file, _: file)
    assert set(result) == {*PROPERTIES, "all together"}
    assert not any(one.is_shortcut for one in result.values())


def test_a_class_of_one_source_is_judged_by_clip_and_named() -> None:
    # All clips of a class were cut from one recording, with its own codec.
    result = found(PLANTS["codec"], sources=["monday"] * SOURCES + ["tuesday"] * SOURCES)
    assert result["codec"].is_shortcut
    assert result["codec"].one_source == ("closing", "opening")
    assert not result["frame rate"].is_shortcut

    # One class of one source is enough that folds by source have nothing to judge it by.
    some = [str(number // 3) for number in range(SOURCES)]
    result = found(PLANTS["codec"], sources=[*some, *["tuesday"] * SOURCES])
    assert result["codec"].is_shortcut
    assert result["codec"].one_source == ("opening",)


def test_clips_of_a_source_are_no_independent_evidence() -> None:
    facts, labels, sources = [], [], []
    for label, common in (("closing", 25.0), ("opening", 30.0)):
        for source in range(12):
            # Two thirds of the sources of each class have its frame rate.
            fps = common if source % 3 else 55.0 - common
            for _ in range(10):
                facts.append(FileFacts(640, 480, fps, 10.0, "h264", "", 10**6))
                labels.append(label)
                sources.append(f"{label} {source}")
    (rate,) = (
        one
        for one in find_shortcuts(facts, [3.0] * len(facts), labels, sources)
        if one.name == "frame rate"
    )
    assert rate.accuracy == pytest.approx(2 / 3, abs=0.02)
    assert not rate.is_shortcut


def test_too_little_to_judge_by() -> None:
    file = FileFacts(640, 480, 25.0, 10.0, "h264", "", 10**6)
    assert find_shortcuts([file] * 6, [3.0] * 6, list("aaabbb"), list("abcdef")) == []
    assert find_shortcuts([file] * 30, [3.0] * 30, ["a"] * 30, [str(i) for i in range(30)]) == []
