"""Files of a run for people: configuration, environment, figures, curves, TensorBoard, summary."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gasmcast.config import Config
from gasmcast.files import read_json, write_atomic
from gasmcast.report.figures import save_figure
from gasmcast.report.plots import draw_curves
from gasmcast.training.logs.environment import describe_environment

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["RunFolder"]

Figures = dict[str, float]
DRAW_EVERY_S = 15.0  # drawing takes longer than an epoch of a small data set


class RunFolder:
    """Writer of the files of one run; only the main process has one.

    Args:
        folder: the run folder.
        config: configuration of the run.
        first_update: weight updates made before this (re)start.
        warnings: what the user was told before this start, such as a leak that was allowed.
    """

    def __init__(
        self, folder: Path, config: Config, first_update: int, warnings: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

        # A finished run that resumes is unfinished again.
        (folder / "summary.json").unlink(missing_ok=True)
        settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        write_atomic(folder / "config.yaml", settings)

        # One entry per (re)start: a resumed run may use other versions, and that must be visible.
        environment = folder / "environment.json"
        starts = read_json(environment, list) if environment.exists() else []
        start = {"from_step": first_update, **describe_environment(), "warnings": list(warnings)}
        starts.append(start)
        write_atomic(environment, json.dumps(starts, indent=1))

        self._board = self._open_board(first_update)
        self._undrawn: list[Figures] = []
        self._drawn_at = -DRAW_EVERY_S

    def _open_board(self, first_update: int) -> SummaryWriter | None:
        """Return the writer of TensorBoard files; None if TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional and slow
        except ImportError:
            return None
        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=first_update or None)

    def write_update(self, update: int, figures: Figures) -> None:
        """Write the figures of one weight update to TensorBoard."""
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"step/{name}", value, update)

    def write_epochs(self, update: int, history: list[Figures]) -> None:
        """Write the figures of all epochs so far.

        `metrics.csv` is written again, `curves.png` at intervals and at the end, and the last
        epoch goes to TensorBoard.

        Args:
            update: weight updates made so far.
            history: figures of each epoch.
        """
        if not history:
            return
        table = io.StringIO()
        columns = list(dict.fromkeys(name for figures in history for name in figures))
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(history)
        write_atomic(self.folder / "metrics.csv", table.getvalue())

        self._undrawn = history
        if time.monotonic() - self._drawn_at >= DRAW_EVERY_S:
            self._draw()

        if self._board is not None:
            for name, value in history[-1].items():
                self._board.add_scalar(f"epoch/{name}", value, update)
            self._board.flush()

    def _draw(self) -> None:
        """Draw the curves of epochs that have not been drawn."""
        if self._undrawn:
            save_figure(draw_curves(self._undrawn), self.folder / "curves.png")
            self._undrawn, self._drawn_at = [], time.monotonic()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, which `gasmcast runs` lists."""
        write_atomic(self.folder / "summary.json", json.dumps(summary, indent=1))

    def close(self) -> None:
        """Draw the last curves and close TensorBoard."""
        self._draw()
        if self._board is not None:
            self._board.close()
