"""Augmentation: one draw for a clip, of the right shape, and mirror images that keep their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.config import AugmentConfig
from gasmcast.data.augment import _OPERATIONS, Augmentation, _channels, _geometric, _levels, draw_augmentation, draw_crop
from gasmcast.runtime.video import fit_frame
from gasmcast.spec import ClipSpec

SPEC = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)
PLAIN = AugmentConfig(crop_scale=(1, 1), colour_jitter=0, randaugment=None, flip=False)


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_nothing_drawn_is_the_runtimes_frame(frame: np.ndarray) -> None:
    plain = draw_augmentation(np.random.default_rng(0), PLAIN, SPEC, lambda: frame)
    assert np.array_equal(plain(frame), fit_frame(frame, 32, "crop"))


def test_one_draw_serves_every_frame(frame: np.ndarray) -> None:
    """Equal frames stay equal, whatever was drawn."""
    for seed in range(30):
        drawn = draw_augmentation(np.random.default_rng(seed), AugmentConfig(flip=True), SPEC, lambda: frame)
        first, again = drawn(frame), drawn(frame.copy())
        assert first.shape == (32, 32, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


def test_flip(frame: np.ndarray) -> None:
    flips = {
        draw_augmentation(np.random.default_rng(s), PLAIN.model_copy(update={"flip": True}), SPEC, lambda: frame).flip for s in range(20)
    }
    assert flips == {False, True}
    assert np.array_equal(Augmentation(SPEC, flip=True)(frame), fit_frame(frame, 32, "crop")[:, ::-1])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.05, 1), st.floats(0.3, 1))
def test_crops_lie_in_the_frame(seed: int, least: float, narrow: float) -> None:
    top, left, height, width = draw_crop(np.random.default_rng(seed), (least, 1.0), (narrow, 1 / narrow))
    assert top >= 0
    assert left >= 0
    assert top + height <= 1 + 1e-9
    assert left + width <= 1 + 1e-9
    assert least - 1e-9 <= height * width <= 1 + 1e-9


def test_identities(frame: np.ndarray) -> None:
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        assert np.allclose(_geometric(name, 0, 32), np.eye(3))
    for name in ("brightness", "contrast", "colour"):
        assert np.allclose(_channels(name, 1), np.eye(4))
    for name in ("posterize", "solarize", "solarize_add"):
        assert np.array_equal(_levels(name, 0, lambda: frame)[:, 0], np.arange(256))


def test_levels(frame: np.ndarray) -> None:
    dim = frame // 4 + 50
    stretched = _levels("autocontrast", 0.7, lambda: dim)
    assert stretched[dim[..., 0].min(), 0] == 0
    assert stretched[dim[..., 0].max(), 0] == 255
    assert (np.diff(_levels("equalize", 0.7, lambda: dim).astype(int), axis=0) >= 0).all()
    assert np.array_equal(_levels("invert", 0.7, lambda: dim)[:, 1], 255 - np.arange(256))
    flat = np.full((4, 4, 3), 9, np.uint8)
    assert np.array_equal(_levels("autocontrast", 1, lambda: flat)[:, 0], np.arange(256))
    assert np.array_equal(_levels("equalize", 1, lambda: flat)[:, 0], np.arange(256))


def test_every_operation_is_drawn(frame: np.ndarray) -> None:
    """400 draws touch warp, matrix, table and sharpness."""
    config = PLAIN.model_copy(update={"randaugment": (4, 7)})
    drawn = [draw_augmentation(np.random.default_rng(s), config, SPEC, lambda: frame) for s in range(100)]
    assert any(d.warp is not None for d in drawn)
    assert any(d.matrix is not None for d in drawn)
    assert any(d.table is not None for d in drawn)
    assert any(d.sharpness for d in drawn)
    assert len(_OPERATIONS) == 15
