"""Augmentation: one draw per clip, of the right shape; mirror images keep their meaning."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.config import AugmentConfig
from gasmcast.data.augment import _OPERATIONS, Augmentation, draw_augmentation
from gasmcast.data.crop import Crop, draw_crop
from gasmcast.data.randaugment import (
    _find_shortcut,
    _operation_table,
    apply_table,
    channels,
    geometric,
    level_table,
)
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame

SPEC = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)
PLAIN = AugmentConfig(crop_scale=(1, 1), color_jitter=0, randaugment=None, flip=False)


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_nothing_drawn_is_the_runtimes_frame(frame: np.ndarray) -> None:
    plain = draw_augmentation(np.random.default_rng(0), PLAIN, SPEC, lambda: frame)
    assert np.array_equal(plain(frame), fit_frame(frame, 32, "crop"))


def test_one_draw_serves_every_frame(frame: np.ndarray) -> None:
    """Equal frames stay equal under any draw."""
    for seed in range(30):
        drawn = draw_augmentation(
            np.random.default_rng(seed), AugmentConfig(flip=True), SPEC, lambda: frame
        )
        first, again = drawn(frame), drawn(frame.copy())
        assert first.shape == (32, 32, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


def test_flip(frame: np.ndarray) -> None:
    flips = {
        draw_augmentation(
            np.random.default_rng(s), PLAIN.model_copy(update={"flip": True}), SPEC, lambda: frame
        ).flip
        for s in range(20)
    }
    assert flips == {False, True}
    assert np.array_equal(
        Augmentation(SPEC, flip=True)(frame), fit_frame(frame, 32, "crop")[:, ::-1]
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.05, 1), st.floats(0.3, 1))
def test_crops_lie_in_the_frame(seed: int, least: float, narrow: float) -> None:
    top, left, height, width = draw_crop(
        np.random.default_rng(seed), (least, 1.0), (narrow, 1 / narrow)
    )
    assert top >= 0
    assert left >= 0
    assert top + height <= 1 + 1e-9
    assert left + width <= 1 + 1e-9
    assert least - 1e-9 <= height * width <= 1 + 1e-9


def test_identities(frame: np.ndarray) -> None:
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        assert np.allclose(geometric(name, 0, 32), np.eye(3))
    for name in ("brightness", "contrast", "color"):
        assert np.allclose(channels(name, 1), np.eye(4))
    for name in ("posterize", "solarize", "solarize_add"):
        assert np.array_equal(_operation_table(name, 0, lambda: frame)[:, 0], np.arange(256))


def test_levels(frame: np.ndarray) -> None:
    dim = frame // 4 + 50
    stretched = _operation_table("autocontrast", 0.7, lambda: dim)
    assert stretched[dim[..., 0].min(), 0] == 0
    assert stretched[dim[..., 0].max(), 0] == 255
    assert (np.diff(_operation_table("equalize", 0.7, lambda: dim).astype(int), axis=0) >= 0).all()
    assert np.array_equal(_operation_table("invert", 0.7, lambda: dim)[:, 1], 255 - np.arange(256))
    flat = np.full((4, 4, 3), 9, np.uint8)
    assert np.array_equal(_operation_table("autocontrast", 1, lambda: flat)[:, 0], np.arange(256))
    assert np.array_equal(_operation_table("equalize", 1, lambda: flat)[:, 0], np.arange(256))


def test_every_operation_is_drawn(frame: np.ndarray) -> None:
    """400 draws touch warp, matrix, table and sharpness."""
    config = PLAIN.model_copy(update={"randaugment": (4, 7)})
    drawn = [
        draw_augmentation(np.random.default_rng(s), config, SPEC, lambda: frame) for s in range(100)
    ]
    assert any(d.warp is not None for d in drawn)
    assert any(d.matrix is not None for d in drawn)
    assert any(d.table is not None for d in drawn)
    assert any(d.sharpness for d in drawn)
    assert len(_OPERATIONS) == 15


WHOLE = Crop(0, 0, 1, 1)


@pytest.mark.parametrize("flip", [False, True])
def test_a_warp_and_the_crop_are_one_resampling_of_the_same_picture(flip: bool) -> None:
    """The identity warp gives what no warp gives, for smaller and larger crops."""
    smooth = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8), (0, 0), 3
    )
    # 40 x 54 pixels are downscaled, 20 x 18 are upscaled.
    for crop in (Crop(0.1, 0.2, 0.8, 0.6), Crop(0.3, 0.1, 0.4, 0.2)):
        plain = Augmentation(SPEC, crop, flip)(smooth).astype(int)
        warped = Augmentation(SPEC, crop, flip, np.eye(3)[:2])(smooth).astype(int)
        assert (
            np.abs(plain - warped)[1:-1, 1:-1].max() <= 2
        )  # at the border a warp reaches outside the frame


def test_a_shift_is_counted_in_pixels_of_the_square_after_the_mirror(frame: np.ndarray) -> None:
    shift = np.array([[1.0, 0, 5], [0, 1, 0]])
    plain = Augmentation(SPEC, WHOLE, flip=True)(frame).astype(int)
    moved = Augmentation(SPEC, WHOLE, flip=True, warp=shift)(frame).astype(int)
    assert (
        np.abs(moved[:, :-6] - plain[:, 5:-1]).max() <= 8
    )  # coordinates have five bits below the pixel, the noise 255 levels
    assert (moved[4:-4, -4:] == 115).all()


def test_no_pixel_is_skipped_where_a_crop_is_much_larger_than_the_clip() -> None:
    """Stripes of one pixel become gray in either direction, whichever side is the long one."""
    stripes = np.zeros((40, 512, 3), np.uint8)
    stripes[:, ::2] = 254
    wide = Augmentation(SPEC, WHOLE)(stripes)
    tall = Augmentation(SPEC, WHOLE)(stripes.transpose(1, 0, 2))
    assert np.abs(wide.astype(int) - 127).max() <= 1
    assert np.abs(tall.astype(int) - 127).max() <= 1


def test_tables_that_arithmetic_knows_give_what_looking_up_gives() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 24, 3), np.uint8)
    image.reshape(-1)[:256] = np.arange(256)
    known = 0
    for names in product(
        ("posterize", "solarize", "solarize_add", "invert", "equalize", "autocontrast"), repeat=2
    ):
        for chosen, amount in product((names, names[:1]), (0.0, 0.3, 0.7, 1.0)):
            table = level_table(list(chosen), amount, lambda: image, np.eye(4)[:3])
            assert np.array_equal(apply_table(image, table), cv2.LUT(image, table[None]))
            known += _find_shortcut(table.tobytes()) != (None, None)
    assert known > 20
