"""Outputs never replace inputs or each other, however they are named."""

from __future__ import annotations

import pytest

from gasmcast.commands.output_files import check_outputs
from gasmcast.errors import UsageError


def test_a_link_to_a_source_is_that_source(tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="would be overwritten"):
        check_outputs([str(tmp_path / "a.mp4")], [tmp_path / "b.mp4"])
    with pytest.raises(UsageError, match="two outputs"):
        check_outputs([], [tmp_path / "a.mp4", tmp_path / "x/../a.mp4"])


def test_a_link_to_itself_is_no_traceback(tmp_path) -> None:
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    check_outputs(["demo:", str(loop)], [tmp_path / "out.jsonl"])
