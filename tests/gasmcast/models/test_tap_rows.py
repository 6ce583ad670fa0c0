"""Rows of a feature cache: what is packed is unpacked."""

import pytest
import torch

from gasmcast.models.tap_rows import Taps, TapShapes, pack_rows, unpack_rows


@pytest.mark.parametrize("segments_per_run", [1, 4])
def test_unpacking_restores_the_taps(segments_per_run):
    shapes = TapShapes(semantic=[(4, 2, 9, 5)], motion=[(4, 3, 3, 6), (4, 1, 1, 7)])
    runs = 2 * 4 // segments_per_run
    taps = Taps(
        semantic=[torch.randn(2 * 4 * 2, 9, 5)],
        motion=[torch.randn(runs, segments_per_run, *shape[1:]) for shape in shapes.motion],
    )
    rows = pack_rows(taps, 2)
    assert rows.shape == (2, 4 * 2 * 9 * 5 + 4 * 9 * 6 + 4 * 7)
    again = unpack_rows(rows, shapes, segments_per_run=segments_per_run)
    for before, after in zip([*taps.semantic, *taps.motion], [*again[0], *again[1]], strict=True):
        assert torch.equal(before, after)


def test_a_stream_that_is_absent_takes_no_columns():
    shapes = TapShapes(semantic=[], motion=[(2, 1, 1, 3)])
    taps = unpack_rows(torch.arange(12.0).reshape(2, 6), shapes, segments_per_run=1)
    assert taps.semantic == []
    assert taps.motion[0].shape == (4, 1, 1, 1, 3)
