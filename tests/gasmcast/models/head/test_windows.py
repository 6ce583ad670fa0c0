"""Cutting tokens into windows and joining them again."""

from __future__ import annotations

import pytest
import torch

from gasmcast.models.head.windows import Cells, Runs


@pytest.mark.parametrize(
    "window", [Cells(4, 2), Cells(4, 1), Cells(4, 4), Runs(1), Runs(3), Runs(6)]
)
def test_join_undoes_cut(window):
    x = torch.randn(2, 6, 16, 8)
    assert torch.equal(window.join(window.cut(x, 2), 6), x)


def test_a_cell_owns_its_patches_at_all_times():
    marks = torch.arange(16).view(1, 1, 16, 1).expand(1, 3, 16, 2).float()
    cells = Cells(4, 2).cut(marks, 1)  # (4, 1, 12, 2)
    assert sorted(set(cells[0].flatten().tolist())) == [0, 1, 4, 5]
    assert sorted(set(cells[3].flatten().tolist())) == [10, 11, 14, 15]


def test_a_run_is_a_stretch_of_time():
    marks = torch.arange(6).view(1, 6, 1, 1).expand(1, 6, 4, 2).float()
    assert sorted(set(Runs(3).cut(marks, 1)[1].flatten().tolist())) == [2, 3]
