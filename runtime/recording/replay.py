"""Replaying a recorded run: every decision made again from the recorded logits, and compared with what was told then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.errors import SourceError, UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.recorder import JOURNAL_VERSION
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.sources.file import FileSource

__all__ = ["Replay", "ReplaySource", "replay"]

_LOST = (
    "gap",
    "late",
    "restart",
    "skip",
    "turn",
)  # causes of drops that leave a hole between the frames that were taken


@dataclass(frozen=True)
class Replay:
    """What a replay gave; truthy when it told exactly what was told then."""

    decisions: int
    events: int
    different: tuple[str, ...]
    """One sentence for each decision or event that came out otherwise, is new, or is missing; before them, if the recording has holes."""

    def __bool__(self) -> bool:
        return not self.different


def replay(
    path: Path, emit: Callable[[Decision | Event], None], config: LiveConfig | None = None
) -> Replay:
    """Decide a recorded run again.

    Args:
        path: what `--record` wrote.
        emit: takes the decisions and events, in the recorded order.
        config: other settings, to see what they would have done; None: the recorded ones.

    Raises:
        UsageError: not a recording, or of another version.
    """
    lines = _read(path)
    head = next(lines)
    labels = Labels(head["labels"])
    settings = config or _config(head["config"], path)
    deciders: dict[str, Decider] = {}
    told: list[dict[str, Any]] = []
    then: list[dict[str, Any]] = []
    counts = {"decision": 0, "event": 0}
    lost = 0
    for line in lines:
        made: list[Decision | Event] = []
        match line["is"]:
            case "camera":
                own = settings if config or not line["config"] else _config(line["config"], path)
                name = line["camera"]
                deciders[name] = Decider(
                    name, LabelView(labels, own), own, head["temperature"], head["no_action"]
                )
            case "window":
                logits = np.asarray(line["logits"], np.float32)
                window = (line["window"][0], line["window"][1])
                made = deciders[line["camera"]].update(
                    window, logits, line["wall_s"], line["latency_ms"]
                )
            case "mark":
                made = list(deciders[line["camera"]].flush(line["wall_s"]))
            case "lost":
                lost += line["lines"]
            case "record" if line["kind"] in counts:
                then.append({key: value for key, value in line.items() if key != "is"})
        for record in made:
            tree = json.loads(json.dumps(record.to_json()))
            counts[tree["kind"]] += 1
            told.append(tree)
            emit(record)
    holes = (
        [
            f"{lost} lines are missing, for the disk was too slow: what rests on them comes out otherwise."
        ]
        if lost
        else []
    )
    return Replay(counts["decision"], counts["event"], (*holes, *_differences(then, told)))


class ReplaySource:
    """The frames of a recorded file again, those that were taken then (`replay:run.jsonl`); the pictures of cameras are not stored."""

    live = reconnects = False

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path

    def frames(self) -> Iterator[Frame]:
        """Raises: SourceError, when the recording is not one of a single file, whole and without holes, or that file has gone."""
        try:
            lines = list(_read(self._path))
        except UsageError as error:
            raise SourceError(error.what, error.hint) from None
        cameras = [line for line in lines if line["is"] == "camera"]
        if why := self._not_the_same(lines, cameras):
            raise SourceError(
                f"{self._path} {why}.",
                f"Replay its decisions: gasmcast live --replay {self._path}.",
            )
        taken = {stamp for line in lines if line["is"] == "segment" for stamp in line["stamps"]}
        for frame in FileSource(Path(cameras[0]["source"]), self.name).frames():
            if frame.stamp_s in taken:
                yield frame

    @staticmethod
    def _not_the_same(lines: list[dict[str, Any]], cameras: list[dict[str, Any]]) -> str:
        """Why the file's frames would not make what was made of them then, after the recording's name; empty where they do."""
        if len(cameras) != 1 or not Path(cameras[0]["source"]).is_file():
            return "is not the recording of one file that is still there"
        if parts := [part for part in ("region", "mask") if cameras[0].get(part)]:
            return f"was made of a part of the picture ({' and '.join(parts)}), and the frames of the file are whole"
        if any(
            line["is"] == "lost" or (line["is"] == "drop" and line["cause"] in _LOST)
            for line in lines
        ):
            return "has holes, which windows over the frames that it took would span"
        return ""


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a recording, its head first.

    Raises:
        UsageError: it cannot be read, or holds no whole line.
    """
    number = 0
    try:
        with path.open(encoding="utf-8") as stream:
            for number, text in enumerate(stream, 1):
                if not text.endswith("\n") and number > 1:
                    return  # the power went while it was written
                line = json.loads(text)
                if number == 1:
                    _check_head(line)
                yield line
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}).", "Give what --record wrote."
        ) from None
    except (ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a recording that this version reads ({error}).",
            "Give what --record wrote.",
        ) from None
    if number == 0:
        raise UsageError(f"{path} is empty.", "Give what --record wrote.")


def _check_head(line: dict[str, Any]) -> None:
    if line.get("is") != "run" or line.get("version") != JOURNAL_VERSION:
        raise ValueError(f"its first line is no head of version {JOURNAL_VERSION}")


def _config(tree: dict[str, Any], path: Path) -> LiveConfig:
    try:
        return LiveConfig.model_validate(tree)
    except ValueError as error:
        raise UsageError(
            f"{path}: its settings are of another version ({str(error).splitlines()[0]})."
        ) from None


def _differences(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    """Camera by camera, in order: records of different cameras may have crossed on their way into the file."""
    for camera in sorted({record["camera"] for record in then + now}):
        old = [record for record in then if record["camera"] == camera]
        new = [record for record in now if record["camera"] == camera]
        for before, after in zip(old, new, strict=False):
            if before != after:
                keys = [key for key in before if before[key] != after.get(key)]
                yield f"{camera} at {before['time_s']:g} s: {before['kind']} differs in {', '.join(keys)}."
        if len(old) != len(new):
            yield f"{camera}: {len(old)} decisions and events were told, {len(new)} came out."
