"""Choose event thresholds for a rate of false events, for `gasmcast threshold`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gasmcast.api.evaluate_events import annotated_actions
from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent

if TYPE_CHECKING:
    from gasmcast.runtime.alarms.hits import Action
    from gasmcast.runtime.alarms.threshold_choice import ThresholdChoice, TradeOff

__all__ = ["ThresholdResult", "choose_threshold", "parse_rate", "render_thresholds"]

_UNITS_PER_DAY = {"hour": 24.0, "day": 1.0, "week": 1 / 7, "month": 1 / 30}


@dataclass(frozen=True)
class ThresholdResult:
    """Chosen thresholds, and where they were written; truthy, since a failure is an error."""

    bundle: Path
    precision: str
    choice: ThresholdChoice
    report: Path
    written: bool
    """False if only the trade-off was wanted."""
    leak: str = ""
    """Warning about sources of the labeled videos in two splits, if that was allowed."""

    def __str__(self) -> str:
        choice, row = self.choice, self.choice.chosen
        lines = [_HEAD]
        rows = _rows_of_chosen_duration(choice)
        lines += [f"{'*' if other == row else ' '} {_line(other)}" for other in rows]
        lines += [f"  {name}: on {value:g}" for name, value in row.label_on.items()]
        lines.append(self.verdict)
        where = (
            f"Written into {self.bundle} for {self.precision}" if self.written else "Not written"
        )
        lines.append(f"{where}; {self.report} has all that were tried.")
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """The proof of the chosen thresholds, in sentences that users read."""
        choice, row = self.choice, self.choice.chosen
        proof = (
            f"{row.events} events in {choice.idle_hours:.2f} idle hours of {choice.cameras} "
            f"cameras: at most {row.upper_per_day:.3g} a day and camera (95 %), and "
            f"{choice.at_most_per_day:g} were wanted. Labels with a threshold of their own count "
            "as further events in the bound. The thresholds were chosen on these hours, so "
            "gasmcast live checks the rate."
        )
        return f"{proof} {self.leak}" if self.leak else proof

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "bundle": str(self.bundle),
            "precision": self.precision,
            "written": self.written,
            **({"leak": self.leak} if self.leak else {}),
            **self.choice.to_json(),
        }


def choose_threshold(
    bundle: Path | str,
    background: Path | str,
    at_most: str = "1/day",
    *,
    data: Path | str | None = None,
    split: Literal["validation", "train"] = "validation",
    config: Path | None = None,
    engine: str = "auto",
    threads: int | None = None,
    data_format: str | None = None,
    allow_leak: bool = False,
    write: bool = True,
    progress: Progress = silent,
) -> ThresholdResult:
    """Choose event thresholds for a rate of false events, and write them into the manifest.

    Args:
        bundle: folder that `gasmcast export` wrote.
        background: file of `record_background`.
        at_most: false events per camera and time, such as `1/day`; the time is `hour`, `day`,
            `week` or `month` (30 days).
        data: labeled videos, by which the hits are counted; see `gasmcast.data.timeline`.
        split: the split of `data`.
        config: YAML of `live`'s settings. All of them count, except `hop`, which is that of the
            background file, and `on`, `off`, `min_s` and `label_on`, which are chosen here.
        engine: backend that runs the labeled videos.
        threads: CPU threads; None: all cores.
        data_format: format of `data`, as `--format` takes it; None: detected.
        allow_leak: accept sources of `data` in two splits.
        write: write the thresholds into the manifest.
        progress: called with what is done.

    Returns:
        The chosen thresholds, all that were tried with their events, and the report's file.

    Raises:
        UsageError: the idle logits are of another model, or an argument is wrong.
        GateError: the hours cannot prove the rate, or no thresholds hold it; nothing is written.
    """
    from gasmcast.data.reading import read_as  # noqa: PLC0415 - heavy
    from gasmcast.data.set_check import check_data  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.idle_replay import decide  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.idle_store import read_idle  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.run_files import run_files  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.threshold_choice import FLOOR, choose  # noqa: PLC0415 - heavy
    from gasmcast.runtime.bundle import Bundle  # noqa: PLC0415 - heavy
    from gasmcast.runtime.live_settings import load_live_config  # noqa: PLC0415 - heavy
    from gasmcast.runtime.streaming_model import open_model  # noqa: PLC0415 - heavy

    per_day = parse_rate(at_most)
    folder = Path(bundle)
    opened = Bundle.open(folder)
    manifest, idle = opened.manifest, read_idle(Path(background))

    # The rate is proved for this model in this precision, so the idle logits must be its own.
    same = (idle.head.checkpoint_sha256, idle.head.labels) == (
        manifest.checkpoint_sha256,
        tuple(manifest.labels),
    )
    if not same or idle.head.precision not in opened.precisions():
        raise UsageError(
            f"{background} holds logits of another model or precision than {bundle} has.",
            "Record them again: gasmcast background SOURCES --bundle BUNDLE.",
        )

    # Decisions depend on the hop, and the idle logits exist in one only.
    precision = idle.head.precision
    measured = opened.measured(precision)
    settings = load_live_config(config)
    segment_s = manifest.spec.segment_s
    settings = settings.model_copy(update={"hop": round(idle.head.hop_s / segment_s)})

    def decided(logits: Any) -> Any:  # noqa: ANN401 - types of modules that load here
        return decide(
            logits,
            settings,
            temperature=settings.temperature or measured.temperature,
            no_action=measured.no_action if settings.no_action is None else settings.no_action,
            floor=FLOOR,
            progress=progress,
        )

    # Labeled videos are run by the model now; the idle hours were run when they were recorded.
    labeled, leak = None, ""
    actions: list[Action] = []
    if data is not None:
        read_as(data_format, allow_leak=allow_leak)
        leak = check_data(Path(data))
        videos, actions, _ = annotated_actions(Path(data), split, manifest.labels)
        model, _ = open_model(
            folder, engine, precision, threads, verify=False, tempo=settings.tempo
        )
        labeled = decided(run_files(model, settings, videos, progress=progress))

    choice = choose(
        decided(idle),
        idle.hours(),
        per_day,
        settings,
        labeled=labeled,
        actions=actions,
        progress=progress,
    )

    # `live` reads the thresholds of the precision that it runs from the manifest.
    if write:
        alarms = choice.thresholds(settings, idle.head.hop_s)
        record = measured.model_copy(update={"alarms": alarms})
        precisions = {**manifest.precisions, precision: record}
        updated = manifest.model_copy(update={"precisions": precisions})
        write_atomic(folder / "manifest.json", updated.model_dump_json(indent=1))

    # The reports lie beside the idle hours: a bundle holds only what its manifest names.
    report = Path(background).with_suffix(".threshold.html")
    result = ThresholdResult(folder, precision, choice, report, write, leak)
    write_atomic(report, render_thresholds(result))
    write_atomic(report.with_suffix(".json"), json.dumps(result.to_json(), indent=1))
    return result


def parse_rate(text: str) -> float:
    """Return the events a day of `0.5/hour`, `1/day`, `2/week`, `3/month`, or a plain number a day.

    A month has 30 days.

    Raises:
        UsageError: not a rate above zero.
    """
    number, _, unit = text.partition("/")
    try:
        rate = float(number) * _UNITS_PER_DAY[unit.strip() or "day"]
    except (KeyError, ValueError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(
            f"--at-most {text!r} is no rate.", "Write 1/hour, 1/day, 2/week or 3/month."
        )
    return rate


_HEAD = "  min_s      on    off  events  a day  95 % bound  hit rate  delay"


def _line(row: TradeOff) -> str:
    hit = "-" if row.hit_rate is None else f"{100 * row.hit_rate:.1f} %"
    delay = "-" if row.mean_delay_s is None else f"{row.mean_delay_s:.2f} s"
    on = f"{row.on:g}{'+' if row.label_on else ''}"
    return (
        f"{row.min_s:5g}  {on:>6}  {row.off:5.3g}  {row.events:6d}  {row.per_day:5.3g}  "
        f"{row.upper_per_day:10.3g}  {hit:>8}  {delay:>6}"
    )


def _rows_of_chosen_duration(choice: ThresholdChoice) -> list[TradeOff]:
    """Return the rows that share the chosen minimum duration."""
    return [row for row in choice.rows if row.min_s == choice.chosen.min_s]


def render_thresholds(result: ThresholdResult) -> str:
    """Return the report as a page."""
    from gasmcast.report.html import Share, Table, bar_table, render  # noqa: PLC0415 - heavy

    choice = result.choice
    rows = [
        (
            "chosen" if row == choice.chosen else "",
            f"{row.min_s:g}",
            f"{row.on:g}",
            f"{row.off:.3g}",
            ", ".join(f"{name} {value:g}" for name, value in row.label_on.items()),
            row.events,
            f"{row.per_day:.3g}",
            f"{row.upper_per_day:.3g}",
            None if row.hit_rate is None else Share(row.hit_rate),
            None if row.mean_delay_s is None else f"{row.mean_delay_s:.2f} s",
        )
        for row in choice.rows
    ]
    head = ("", "min_s", "on", "off", "on of labels", "events", "a day", "95 % bound", "hits")
    by_camera = [(name, float(count)) for name, count in choice.events_by_camera.items()]
    return render(
        "thresholds.html.j2",
        title=f"False alarms: {result.bundle.name} in {result.precision}",
        verdict=result.verdict,
        choices=Table((*head, "delay"), rows, numbers=(1, 2, 3, 5, 6, 7, 8, 9)),
        cameras=bar_table(("camera", "events"), by_camera),
    )
