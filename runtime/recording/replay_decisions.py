"""Replay of a recorded run: make every decision again from its logits, and compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.lines import parse_line
from gasmcast.runtime.records import Decision, Event

__all__ = ["Replay", "read_recording", "replay"]

_HINT = "Give what --record wrote."


@dataclass(frozen=True)
class Replay:
    """Result of a replay; truthy when all decisions and events equal the recorded ones."""

    decisions: int
    events: int
    differences: tuple[str, ...]
    """One sentence per decision or event that differs, is new or is missing. The first one says if
    lines of the recording are missing."""

    def __bool__(self) -> bool:
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "passed": bool(self),
            "decisions": self.decisions,
            "events": self.events,
            "differences": list(self.differences),
        }


def replay(
    path: Path, emit: Callable[[Decision | Event], None], config: LiveConfig | None = None
) -> Replay:
    """Decide a recorded run again; needs no bundle, engine or video.

    Args:
        path: file that `--record` wrote.
        emit: takes the decisions and events, in the recorded order.
        config: other settings, to see what they would have changed; None: the recorded ones.

    Raises:
        UsageError: not a recording, one of another version, or one that was damaged by an edit.
    """
    lines = read_recording(path)
    deciders = _Deciders(next(lines), path, config)

    # One pass in the recorded order; the comparison needs both lists complete.
    recorded: list[dict[str, Any]] = []
    replayed: list[dict[str, Any]] = []
    lost = 0
    for line in lines:
        if line["is"] == "lost":
            lost += line["lines"]
        elif line["is"] == "record" and line["kind"] in ("decision", "event"):
            recorded.append({key: value for key, value in line.items() if key != "is"})

        for record in deciders.take(line):
            # Through JSON, which turns tuples into lists as in the recording.
            replayed.append(json.loads(json.dumps(record.to_json())))
            emit(record)

    differences = list(_differences(recorded, replayed))
    if lost:
        differences.insert(
            0,
            f"{lost} lines are missing because the disk was too slow: decisions that depend on "
            "them differ.",
        )

    kinds = [record["kind"] for record in replayed]
    return Replay(kinds.count("decision"), kinds.count("event"), tuple(differences))


def read_recording(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a recording, its head first; each has the fields of its kind.

    A last line that is torn (power failure while writing) is ignored.

    Raises:
        UsageError: the file cannot be read, or is no recording of this version.
    """
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith("\n") and number > 1:
                    return

                line = _parse(text, path, number)
                yield line
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", _HINT) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}, line {number + 1}, is not UTF-8 ({error.reason}).", _HINT
        ) from None

    if number == 0:
        raise UsageError(f"{path} is empty.", _HINT)


class _Deciders:
    """Deciders of all cameras of a recording.

    Args:
        head: first line of the recording.
        path: the recording, for error messages.
        config: settings that replace the recorded ones.
    """

    def __init__(self, head: dict[str, Any], path: Path, config: LiveConfig | None) -> None:
        self._head = head
        self._path = path
        self._labels = Labels(head["labels"])
        self._override = config
        self._config = config or _config(head["config"], path)
        self._by_camera: dict[str, Decider] = {}

    def take(self, line: dict[str, Any]) -> list[Decision | Event]:
        """Return the records that follow from a line."""
        match line["is"]:
            case "camera":
                self._add(line)
            case "window":
                start_s, end_s = line["window"]
                decider = self._decider(line["camera"])
                logits = self._logits(line)
                return decider.update((start_s, end_s), logits, line["wall_s"], line["latency_ms"])
            case "mark":
                return list(self._decider(line["camera"]).flush(line["wall_s"]))
        return []

    def _decider(self, camera: str) -> Decider:
        decider = self._by_camera.get(camera)
        if decider is None:
            raise UsageError(f"{self._path}: no line introduces the camera {camera!r}.", _HINT)
        return decider

    def _logits(self, line: dict[str, Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            logits = np.asarray(line["logits"], np.float32)  # (classes,)
        if len(logits) != len(self._labels) or not np.isfinite(logits).all():
            raise UsageError(
                f"{self._path}: a window of {line['camera']} has other logits than one finite "
                f"number for each of the {len(self._labels)} labels.",
                _HINT,
            )
        return logits

    def _add(self, line: dict[str, Any]) -> None:
        # Other settings replace those of single cameras, too.
        config = self._config
        if self._override is None and line["config"]:
            config = _config(line["config"], self._path)

        name = line["camera"]
        self._by_camera[name] = Decider(
            camera=name,
            labels=LabelView(self._labels, config),
            config=config,
            temperature=self._head["temperature"],
            no_action=self._head["no_action"],
        )


def _parse(text: str, path: Path, number: int) -> dict[str, Any]:
    try:
        return parse_line(text, first=number == 1)
    except ValueError as error:
        raise UsageError(
            f"{path} is not a recording that this version reads (line {number}: {error}).", _HINT
        ) from None


def _config(tree: dict[str, Any], path: Path) -> LiveConfig:
    try:
        return LiveConfig.model_validate(tree)
    except ValueError as error:
        raise UsageError(
            f"{path}: its settings are of another version ({str(error).splitlines()[0]})."
        ) from None


def _differences(recorded: list[dict[str, Any]], replayed: list[dict[str, Any]]) -> Iterator[str]:
    """Compare records camera by camera; those of different cameras may be in another order."""
    for camera in sorted({record["camera"] for record in recorded + replayed}):
        old = [record for record in recorded if record["camera"] == camera]
        new = [record for record in replayed if record["camera"] == camera]
        for before, after in zip(old, new, strict=False):
            if before != after:
                keys = ", ".join(key for key in before if before[key] != after.get(key))
                yield f"{camera} at {before['time_s']:g} s: {before['kind']} differs in {keys}."
        if len(old) != len(new):
            yield (
                f"{camera}: {len(old)} decisions and events were recorded, {len(new)} were "
                "replayed."
            )
