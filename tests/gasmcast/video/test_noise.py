from __future__ import annotations

import numpy as np

from gasmcast.video.noise import drifting_noise, noise_pixels


def test_the_same_seed_gives_the_same_bytes() -> None:
    pixels = noise_pixels((4, 8, 3))
    assert (pixels.shape, pixels.dtype) == ((4, 8, 3), np.uint8)
    np.testing.assert_array_equal(pixels, noise_pixels((4, 8, 3)))
    assert (pixels != noise_pixels((4, 8, 3), seed=1)).any()


def test_patches_drift_by_one_pixel_per_frame() -> None:
    clips = drifting_noise(2, (2, 4, 32, 32, 3))
    assert (clips.shape, clips.dtype) == ((2, 2, 4, 32, 32, 3), np.uint8)
    frames = clips[0].reshape(8, 32, 32, 3).astype(int)
    moved = np.abs(np.roll(frames[0], 5, axis=1) - frames[5]).max()
    assert moved < 56  # only the fine noise differs
    assert np.abs(frames[0] - frames[5]).max() > 56
