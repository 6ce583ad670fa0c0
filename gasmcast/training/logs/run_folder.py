"""What a run leaves in its folder for people: configuration, environment, figures by epoch, curves, TensorBoard, summary."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gasmcast.config import Config
from gasmcast.files import read_json, write_atomic
from gasmcast.report.plots import draw_curves
from gasmcast.training.logs.environment import describe_environment

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["RunRecord"]

Row = dict[str, float]
DRAW_EVERY_S = 15.0  # drawing takes longer than a small set's epoch


class RunRecord:
    """Writes the files of one run; only the first process has one."""

    def __init__(self, folder: Path, config: Config, first_step: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").unlink(
            missing_ok=True
        )  # a finished run that goes on is under way again
        write_atomic(
            folder / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        )
        sessions = self._sessions()
        write_atomic(
            folder / "environment.json",
            json.dumps([*sessions, {"from_step": first_step, **describe_environment()}], indent=1),
        )
        self._board = self._open_board(first_step)
        self._undrawn: list[Row] = []
        self._drawn_at = -DRAW_EVERY_S

    def _sessions(self) -> list[dict[str, Any]]:
        """One entry a start: a resumed run may go on with other versions, and it must show."""
        path = self.folder / "environment.json"
        if not path.exists():
            return []
        return read_json(path, list)

    def _open_board(self, first_step: int) -> SummaryWriter | None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # TensorBoard is optional and slow to import
        except ImportError:
            return None
        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=first_step or None)

    def step(self, step: int, row: Row) -> None:
        """Figures of one weight update, for TensorBoard only."""
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(f"step/{name}", value, step)

    def epochs(self, step: int, history: list[Row]) -> None:
        """All epochs so far: `metrics.csv` anew, `curves.png` now and then and at the end, the last one to TensorBoard."""
        if not history:
            return
        table = io.StringIO()
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in history for name in row)))
        writer.writeheader()
        writer.writerows(history)
        write_atomic(self.folder / "metrics.csv", table.getvalue())
        self._undrawn = history
        if time.monotonic() - self._drawn_at >= DRAW_EVERY_S:
            self._draw()
        if self._board is not None:
            for name, value in history[-1].items():
                self._board.add_scalar(f"epoch/{name}", value, step)
            self._board.flush()

    def _draw(self) -> None:
        if self._undrawn:
            draw_curves(self._undrawn, self.folder / "curves.png")
            self._undrawn, self._drawn_at = [], time.monotonic()

    def finish(self, summary: dict[str, Any]) -> None:
        """`summary.json`: what `gasmcast runs` lists."""
        write_atomic(self.folder / "summary.json", json.dumps(summary, indent=1))

    def close(self) -> None:
        """Draw what is not drawn yet, and flush TensorBoard."""
        self._draw()
        if self._board is not None:
            self._board.close()
