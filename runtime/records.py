"""What goes out: decisions, events, notices and statistics, and the sinks that take them."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError

__all__ = [
    "NO_ACTION",
    "CameraStats",
    "Choosy",
    "Decision",
    "Event",
    "Notice",
    "Record",
    "RefusedError",
    "Sink",
    "Stats",
    "View",
    "rfc3339",
]

NO_ACTION = "no action"


def rfc3339(wall_s: float) -> str:
    """Seconds since 1970 as UTC text, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(wall_s, tz=datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class _Timed:
    camera: str
    time_s: float
    """Seconds after the source's first frame (of the source's own time stamps)."""
    wall_s: float
    """Seconds since 1970 when this was decided."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: the fields, `kind`, and `ts` (RFC 3339) in place of `wall_s`."""
        tree = asdict(self)
        return {"kind": type(self).__name__.lower(), "ts": rfc3339(tree.pop("wall_s")), **tree}


@dataclass(frozen=True)
class Decision(_Timed):
    """The smoothed, calibrated class of a camera at the end of a window."""

    window: tuple[float, float]
    """`(t0, t1)` of the window in seconds like `time_s`; `t1 == time_s`."""
    label: str
    """The class, its group's name where labels are grouped, or `no action`."""
    label_id: int
    """Index of the class in the bundle's labels; the best member's for a group; -1 for no action."""
    p: float
    """Calibrated probability of the best label (also when that is below the threshold of an action)."""
    top: tuple[tuple[str, float], ...]
    """The best labels and their probabilities, best first."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """By stage: `sample` (last frame to complete segment), `wait` (for the encoder), `encode`, `queue` (for the head), `fuse`; and `total`,
    from the arrival of the last frame to here."""


@dataclass(frozen=True)
class Event(_Timed):
    """An action that starts, goes on, or has ended."""

    phase: Literal["start", "update", "end"]
    label: str
    label_id: int
    p: float
    """Peak probability so far."""
    start_s: float
    """When it began, in seconds like `time_s`: the end of the first window that showed it."""
    duration_s: float
    onset_delay_s: float
    """How long after `start_s` the start was told."""
    number: int
    """Counts the events of a camera; the same in `start`, `update` and `end`."""


@dataclass(frozen=True)
class Notice(_Timed):
    """Something an operator must know: a gap, a drop of service, a camera's state."""

    what: str
    """`state`, `gap`, `under_delivery`, `degrade`, `recover`, `turns`, `error`."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class CameraStats:
    """One camera's counters since the start."""

    camera: str
    state: str
    frames: int
    segments: int
    decisions: int
    drops: dict[str, int]
    """By cause: segments lost as `late` (newest wins), to a `skip` (level 4), in another camera's `turn`, to a `restart` or a `gap`;
    decisions left out by `hop`, because a lost segment is a `hole` in their window, or because the head gave what is `not_finite`;
    encodings saved by the `gate`; frames in `disorder`."""
    fps: float
    """Frames a second that come in, over the last 128; 0 for a camera that is stalled or lost, as the two below."""
    delivery: float
    """Distinct frames per slot of the time grid, over the last window; 1 is full delivery."""
    latency_ms: dict[str, float]
    """`p50`, `p95`, `p99` of capture to decision, over the last decisions."""


@dataclass(frozen=True)
class Stats(_Timed):
    """The state of the whole process (`camera` is empty)."""

    cameras: tuple[CameraStats, ...]
    stages_ms: dict[str, dict[str, float]]
    """Per stage `p50`, `p95`, `p99`."""
    level: int
    """Degradation: 0 none, 1 hop x2, 2 motion gate, 3 round-robin, 4 whole windows."""
    busy: float
    """Share of the time in which the engine was computing, over the last interval."""
    sinks: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per sink: written and dropped by cause."""


Record = Decision | Event | Notice | Stats


class RefusedError(MachineError):
    """A sink's receiver will never take this record: trying it again cannot help, the next one may pass."""


class Sink(Protocol):
    """Takes records.

    Behind a queue it is called by that queue's thread alone. One that a session is given as it is (the window, the recording) must take
    calls of several threads at once: those of the sources, of the stages and of the house all tell.
    """

    def write(self, record: Record) -> None:
        """Take one record; raises `GasmcastError` when it cannot now, `RefusedError` when it never can."""
        ...

    def close(self) -> None:
        """Finish; nothing is written after this."""
        ...


class Choosy(Sink, Protocol):
    """A sink that takes some records only."""

    @staticmethod
    def wants(record: Record) -> bool:
        """Whether it takes this one; its queue holds no other, so that what nobody asked for neither makes room nor counts as lost."""
        ...


class View(Sink, Protocol):
    """A sink that also wants the pictures: a window on the screen, an annotated video."""

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """A frame, `(H, W, 3)` RGB, not to be written into.

        In order with that camera's records: for a file, a frame comes after every decision whose window ended by then and before any
        that rests on later frames, however late that decision was computed; for a live camera, at once.
        """
        ...
