"""The synthetic set: fair by construction and when measured, in the real format, written whole."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.data.annotations import read_labels, read_split
from gasmcast.data.synthetic import clips as synthetic
from gasmcast.data.synthetic.clips import make_set
from gasmcast.data.synthetic.scene_video import make_video
from gasmcast.data.synthetic.scenes import (
    CLASSES,
    PAIRS,
    STILL,
    Scene,
    draw_scene,
    render,
    reversed_class,
)
from gasmcast.errors import UsageError
from gasmcast.labels import ssv2_labels
from gasmcast.video.reader import read_frames

TINY = (40, 32)


def test_classes_are_official_and_paired() -> None:
    assert set(CLASSES) <= set(ssv2_labels().names)
    assert len(CLASSES) == 15
    assert reversed_class(STILL) == STILL
    paired = [name for name in CLASSES if name != STILL]
    assert all(
        reversed_class(name) != name and reversed_class(reversed_class(name)) == name
        for name in paired
    )
    assert len(PAIRS) >= 6


@pytest.mark.parametrize("template", CLASSES)
def test_reversed_frames_are_the_twins_frames(template: str) -> None:
    """By construction: the twin with the end's phase shows the same frames backward."""
    scene = replace(draw_scene(np.random.default_rng(3), template), noise=0.0, shake=0.0, size=TINY)
    times = np.arange(12) / 10
    motion = next((pair for pair in PAIRS.values() if template in pair), (template,))
    direction = 0 if template == STILL else 1 - 2 * motion.index(template)
    twin = replace(
        scene,
        template=reversed_class(template),
        phase=scene.phase + direction * scene.speed * float(times[-1]),
    )
    ours, theirs = np.stack(list(render(scene, times))), np.stack(list(render(twin, times)))
    assert np.abs(ours[::-1].astype(int) - theirs).max() <= 1
    if template != STILL:
        assert np.abs(ours[0].astype(int) - ours[4]).max() > 20  # there is motion


def test_nothing_but_the_direction_depends_on_the_class() -> None:
    scenes = [draw_scene(np.random.default_rng(5), name) for name in CLASSES]
    assert len({replace(scene, template="") for scene in scenes}) == 1


def salience(frame: np.ndarray) -> np.ndarray:
    """Return where an object stands out from the background, on a coarse grid."""
    distance = np.abs(frame.astype(np.float32) - np.median(frame, axis=(0, 1))).sum(axis=2)
    return cv2.resize(
        distance / (distance.mean() + 1e-6), (8, 6), interpolation=cv2.INTER_AREA
    ).reshape(-1)


def separability(scenes: list[Scene], twins: list[Scene]) -> dict[str, float]:
    """Held-out accuracy of a ridge probe on first, last and mean frame, scenes against twins."""
    times = np.arange(8) / 5
    views: dict[str, list[np.ndarray]] = {"first": [], "last": [], "mean": []}
    for scene in scenes + twins:
        frames = np.stack(list(render(scene, times)))
        views["first"].append(salience(frames[0]))
        views["last"].append(salience(frames[-1]))
        views["mean"].append(salience(frames.mean(axis=0)))
    side = np.repeat([1.0, -1.0], len(scenes))
    train = np.arange(2 * len(scenes)) % 2 == 0
    found = {}
    for name, rows in views.items():
        x = np.stack(rows)
        x = (x - x[train].mean(axis=0)) / (x[train].std(axis=0) + 1e-6)
        weights = np.linalg.solve(
            x[train].T @ x[train] + 30 * np.eye(x.shape[1]), x[train].T @ side[train]
        )
        found[name] = float((np.sign(x[~train] @ weights) == side[~train]).mean())
    return found


def draw(template: str, seed: int, count: int, **fixed: float) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [replace(draw_scene(rng, template), size=TINY, **fixed) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_no_first_last_or_mean_frame_tells_a_pair_apart(pair: tuple[str, str]) -> None:
    count = 100
    scores = separability(draw(pair[0], 1, count), draw(pair[1], 2, count))
    assert all(abs(score - 0.5) < 4 * 0.5 / np.sqrt(count) for score in scores.values()), scores


@pytest.mark.slow
def test_the_probe_would_notice() -> None:
    """The same probe separates the pair at once if every clip starts at the same phase."""
    names = PAIRS["across"]
    scores = separability(
        draw(names[0], 1, 60, phase=0.45, speed=0.2), draw(names[1], 2, 60, phase=0.45, speed=0.2)
    )
    assert scores["last"] > 0.8


def test_a_whole_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_SECONDS", (0.2, 0.3))
    counts = make_set(tmp_path / "set", clips=75, seed=4, workers=1)
    assert counts == {"train": 58, "validation": 15, "test": 2}
    labels = read_labels(tmp_path / "set")
    assert labels.names == CLASSES
    train, validation = (
        read_split(tmp_path / "set", "train"),
        read_split(tmp_path / "set", "validation"),
    )
    assert sorted(sample.label for sample in validation) == list(range(15))
    assert all(sample.path is not None and "[something]" in sample.template for sample in train)
    assert len({sample.id for sample in train + validation}) == 73
    rows = json.loads((tmp_path / "set" / "labels" / "test.json").read_text())
    assert all(list(row) == ["id"] for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(UsageError, match="not empty"):
        make_set(tmp_path / "set", clips=75)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        synthetic._write_clip(
            synthetic._Job(str(tmp_path / name), CLASSES[0], (int(name == "c.mp4"), 7))
        )
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert a == b != c


def test_nothing_is_left_of_a_set_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(synthetic, "_write_clip", full)
    with pytest.raises(OSError, match="No space"):
        make_set(tmp_path / "set", clips=75, workers=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="too few"):
        make_set(tmp_path / "set", clips=20)


def test_a_stream_of_actions(tmp_path: Path) -> None:
    actions = make_video(tmp_path / "s.mp4", seed=1, templates=CLASSES[:3], seconds=0.5, fps=12)
    assert [action.template for action in actions] == list(CLASSES[:3])
    assert actions[0].start_s == 0
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(actions))
    stamps = [stamp for stamp, _ in read_frames(tmp_path / "s.mp4")]
    assert len(stamps) == round(actions[-1].end_s * 12)
