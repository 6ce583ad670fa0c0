"""Output side of the runtime: decisions, events, notices, statistics, and the sinks they go to."""

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
    "Decision",
    "Event",
    "Notice",
    "ReaderGoneError",
    "Record",
    "RefusedError",
    "SelectiveSink",
    "Sink",
    "Stats",
    "View",
    "rfc3339",
]

NO_ACTION = "no action"


def rfc3339(wall_s: float) -> str:
    """Format seconds since 1970 as UTC text with milliseconds."""
    moment = datetime.datetime.fromtimestamp(wall_s, tz=datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class _Timed:
    """Fields that all records share."""

    camera: str
    time_s: float
    """Seconds after the first frame of the source, on the source's own time stamps."""
    wall_s: float
    """Seconds since 1970 at which the record was made."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data: all fields, plus `kind`, with `ts` (RFC 3339) in place of `wall_s`."""
        tree = asdict(self)
        return {"kind": type(self).__name__.lower(), "ts": rfc3339(tree.pop("wall_s")), **tree}


@dataclass(frozen=True)
class Decision(_Timed):
    """Smoothed and calibrated class of a camera at the end of a window."""

    window: tuple[float, float]
    """Start and end of the window in seconds, on the axis of `time_s`; the end is `time_s`."""
    label: str
    """The class, the name of its group if labels are grouped, or `no action`."""
    label_id: int
    """Index of the class in the bundle's labels, for a group its best member's; -1: no action."""
    p: float
    """Probability of `label`. For a class or group: its calibrated probability. For `no action`: a
    score of its own, `1 / (1 + exp(-(threshold - max logit) / temperature))`, which is 0.5 at the
    threshold and grows as the best class falls below it; with the setting `only` at least the
    probability of the labels that are not reported."""
    best: str
    """The best label that is reported; `label`, unless that is `no action`."""
    best_p: float
    """Calibrated probability of `best`, also if the decision is `no action`."""
    top: tuple[tuple[str, float], ...]
    """The most probable labels with their probabilities, best first."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage: `sample` (last frame to complete segment), `wait` (for the encoder),
    `encode`, `queue` (for the head), `fuse`; `total` runs from the arrival of the last frame."""


@dataclass(frozen=True)
class Event(_Timed):
    """Start, continuation or end of an action."""

    phase: Literal["start", "update", "end"]
    label: str
    label_id: int
    p: float
    """Peak probability of `label` so far."""
    onset_s: float
    """Estimated start of the action on the axis of `time_s`: the middle between the start of the
    last window that did not show it and the end of the first that did, and not before the latter's
    start. That start itself if there is no earlier window (start of the source, gap). It is off by
    at most half a window and half a hop if every window that the action fills shows it; smoothing
    adds to that."""
    detected_s: float
    """End of the first window that showed the action, on the axis of `time_s`."""
    duration_s: float
    """Seconds from `detected_s` to `time_s`. An action also ends before the first window that no
    longer shows it, so the two delays cancel, and its end is near `onset_s + duration_s`."""
    report_delay_s: float
    """Seconds between `detected_s` and the report of the start (the wait for `min_s`)."""
    number: int
    """Running number among the camera's events; the same in `start`, `update` and `end`."""


@dataclass(frozen=True)
class Notice(_Timed):
    """Message for the operator: a gap, a change of service level, a camera's state."""

    what: str
    """`state`, `gap`, `under_delivery`, `frozen`, `black`, `moving` (again), `degrade`, `recover`,
    `turns`, `alarm_rate` (more events than expected) or `error`."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class CameraStats:
    """Counters of one camera since the start."""

    camera: str
    state: str
    frames: int
    segments: int
    decisions: int
    drops: dict[str, int]
    """Counts by cause. Lost segments: `late` (newest wins), `skip` (level 4), `turn` (another
    camera's turn), `restart` (of a stage), `gap`. Windows without a decision: `hop`, `hole` (a
    segment of it was lost), `not_finite` (the head's output). Encodings saved by the still-scene
    filter: `still`. Frames out of order: `disorder`."""
    fps: float
    """Incoming frames per second over the last 128; 0 for a camera that is stalled or lost, as are
    the two fields below."""
    delivery: float
    """Distinct frames per slot of the time grid over the last window; 1 is full delivery."""
    latency_ms: dict[str, float]
    """`p50`, `p95`, `p99` from capture to decision, in milliseconds, over the last decisions."""
    events: int = 0
    """Events that started."""
    events_today: int = 0
    """Events that started in the present day of 24 observed hours."""
    expected_per_day: float | None = None
    """Upper 95 % bound of false events a day that the bundle's thresholds hold, plus the setting
    `true_per_day`; None without such thresholds, or with other settings."""


@dataclass(frozen=True)
class Stats(_Timed):
    """State of the whole process (`camera` is empty)."""

    cameras: tuple[CameraStats, ...]
    stages_ms: dict[str, dict[str, float]]
    """`p50`, `p95`, `p99` of each stage, in milliseconds."""
    level: int
    """Service level: 0 full, 1 hop x2, 2 still-scene filter, 3 round-robin, 4 whole windows."""
    busy: float
    """Share of the time in which the encoder computed, over the last interval."""
    sinks: dict[str, dict[str, int]] = field(default_factory=dict)
    """Records written, and dropped by cause, of each sink."""


Record = Decision | Event | Notice | Stats


class RefusedError(MachineError):
    """Refusal of one record by a sink's receiver: a retry cannot help, the next record may pass."""


class ReaderGoneError(RefusedError):
    """Nobody reads standard output any more, so the run has lost its purpose and ends."""


class Sink(Protocol):
    """Receiver of records.

    Behind a queue, only the thread of that queue calls it. A sink that a session uses directly (the
    window, the recording) must accept concurrent calls: sources, stages and the maintenance thread
    all emit records.
    """

    def write(self, record: Record) -> None:
        """Take one record.

        Raises:
            GasmcastError: it cannot be written now; a retry may succeed.
            RefusedError: it can never be written.
        """
        ...

    def close(self) -> None:
        """Finish; nothing is written after this call."""
        ...


class SelectiveSink(Sink, Protocol):
    """Sink that takes only some records."""

    @staticmethod
    def wants(record: Record) -> bool:
        """Return whether the sink takes `record`.

        Its queue holds no other record, so filtered records take no space and never count as lost.
        """
        ...


class View(Sink, Protocol):
    """Sink that also takes images: a window on the screen, an annotated video."""

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Take a frame, `(H, W, 3)` RGB, read-only, in order with the camera's records.

        A frame of a file comes after every decision whose window ended by then, and before every
        decision that depends on later frames, even if that decision was computed late. A frame of a
        live camera comes at once.
        """
        ...
