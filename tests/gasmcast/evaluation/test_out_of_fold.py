"""Clips that the final model of a run with folds was trained on, and logits that were not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.data.annotations import read_labels, read_split
from gasmcast.data.sample import Sample
from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import (
    count_trained,
    read_logits,
    read_out_of_fold,
    write_out_of_fold,
)
from gasmcast.export.checks.heldout_clips import held_out_clips
from gasmcast.spec import ClipSpec

NAMES = ("up", "down", "still")
LOGITS = np.random.default_rng(0).normal(size=(12, 3))


def write(run: Path, samples: list[Sample]) -> None:
    """Write the result of two folds of 12 clips; the second fold comes in another order."""
    chosen = [np.arange(6), np.arange(6, 12)[::-1].copy()]
    write_out_of_fold(
        run,
        chosen,
        [LOGITS[positions] for positions in chosen],
        SimpleNamespace(ids=[s.id for s in samples], labels=[s.label for s in samples]),
        groups=[s.source or s.id for s in samples],
        names=NAMES,
    )


@pytest.fixture
def samples() -> list[Sample]:
    return [Sample(str(n), n % 3, None, source=f"room {n // 2}") for n in range(12)]


def test_logits_are_those_of_the_answers_in_their_order(samples, tmp_path: Path) -> None:
    write(tmp_path, samples)
    stored = read_logits(tmp_path, 3)
    assert stored is not None
    order = [*range(6), *range(11, 5, -1)]
    np.testing.assert_allclose(stored.logits, LOGITS[order], rtol=1e-6)
    assert stored.labels.tolist() == [n % 3 for n in order]
    answers = json.loads((tmp_path / "folds/out_of_fold.json").read_text())["answers"]
    assert [answer["id"] for answer in answers] == [str(n) for n in order]
    judged = read_out_of_fold(tmp_path)
    assert judged is not None
    assert judged.top1 == np.mean(stored.logits.argmax(1) == stored.labels)


def test_clips_are_known_by_name_and_source(samples, tmp_path: Path) -> None:
    assert count_trained(tmp_path, samples) == 0
    assert read_logits(tmp_path, 3) is None
    write(tmp_path, samples)
    assert count_trained(tmp_path, samples[3:5]) == 2
    elsewhere = [replace(sample, source="another room") for sample in samples]
    assert count_trained(tmp_path, [*elsewhere, samples[0]]) == 1


def test_a_damaged_file_is_one_sentence(samples, tmp_path: Path) -> None:
    write(tmp_path, samples)
    with pytest.raises(UsageError, match="is of other classes"):
        read_logits(tmp_path, 4)
    file = tmp_path / "folds/out_of_fold.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UsageError, match=r"out_of_fold\.safetensors is damaged"):
        read_logits(tmp_path, 3)
    (tmp_path / "folds/out_of_fold.json").write_text('{"top1": 1, "answers": [3]}')
    with pytest.raises(UsageError, match=r"out_of_fold\.json is damaged"):
        count_trained(tmp_path, samples)


def test_clips_that_were_trained_on_are_not_held_out(tiny_set, tmp_path: Path) -> None:
    spec = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)
    labels, run = read_labels(tiny_set), tmp_path / "run"

    def draw(run: Path | None):
        return held_out_clips(tiny_set, spec, labels, tmp_path, run=run, count=12)

    for other in (None, run):
        clips = draw(other)
        assert (len(clips), clips.origin, clips.labels is None) == (12, "validation", False)

    # One clip that was learned is enough to make the figures flatter.
    clips = read_split(tiny_set, "validation")
    write(run, [*clips[:1], *(replace(clip, id=f"other {clip.id}") for clip in clips[1:])])
    assert count_trained(run, clips) == 1
    learned = draw(run)
    assert (len(learned), learned.origin, learned.labels) == (12, "training", None)
