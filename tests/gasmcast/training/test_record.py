"""What a run folder says of its run."""

from __future__ import annotations

from pathlib import Path

from gasmcast.training.listing import list_runs
from gasmcast.training.record import RunRecord


def test_a_finished_run_that_goes_on_is_unfinished_again(fake, tmp_path: Path) -> None:
    config = fake.tiny_config()
    first = RunRecord(tmp_path, config, 0)
    first.finish({"epoch": 2, "top1": 0.5})
    first.close()
    assert [row["finished"] for row in list_runs(tmp_path)] == [True]
    RunRecord(tmp_path, config, 12).close()
    assert [row["finished"] for row in list_runs(tmp_path)] == [False]
