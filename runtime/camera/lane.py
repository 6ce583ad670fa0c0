"""One camera inside the runtime: its clock, backlog, feature ring, decisions and counters."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from gasmcast.errors import GasmcastError
from gasmcast.runtime.alarms.rate_watch import RateWatch
from gasmcast.runtime.camera.backlog import Mark, PendingItem, SegmentBacklog
from gasmcast.runtime.camera.clock import Segment, SegmentClock
from gasmcast.runtime.camera.decisions import Decider
from gasmcast.runtime.camera.delivery import Delivery, DeliveryRates
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.camera.phases import Phases
from gasmcast.runtime.camera.preview import Preview
from gasmcast.runtime.camera.ring import FeatureRing
from gasmcast.runtime.camera.still_filter import StillFilter
from gasmcast.runtime.camera.still_picture import StillPicture
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import CameraStats, Notice
from gasmcast.video.clip import fit_frame

__all__ = ["Lane", "LaneItem"]

_SILENT_STATES = ("stalled", "reconnecting", "failed")


class Lane:
    """A camera inside the runtime; the `FrameListener` that its source feeds.

    Args:
        name: name of the camera.
        live: newest wins; otherwise the source waits.
        context: state that all lanes share.
        decider: turns logits into decisions and events.
        config: settings of this camera.
        gap_s: step of the time stamps, in seconds, that starts a new run.
        phases: chooses the phase of its time grid; None: the grid begins with the first frame.
    """

    def __init__(
        self,
        name: str,
        live: bool,
        context: RuntimeContext,
        decider: Decider,
        config: LiveConfig,
        *,
        gap_s: float,
        phases: Phases | None = None,
    ) -> None:
        self.name = name
        self.live = live
        self.config = config
        self.decider = decider
        self.state = "connecting"
        self.rate: RateWatch | None = None
        """Counts events; None where the bundle is unknown (tests)."""
        self.error: GasmcastError | None = None
        self.trouble = ""
        """Why the source is not live, in its own words; empty while it is."""
        self.ended = False
        """True once the end has been decided; no record follows."""

        # Set by the governor: `paused` while it is other cameras' turn (frames are not even
        # sampled), `whole_windows` while a window's segments are kept and newer ones skipped.
        self.paused = False
        self.whole_windows = False

        spec = context.spec
        self.pending = SegmentBacklog(config.pending, spec.segments, self.drop)
        self.still_filter = StillFilter()
        self.ring = FeatureRing(spec.segments)
        self.preview = Preview(name, live, context.views, spec.segment_s)

        self.drops: Counter[str] = Counter()
        self.latencies = Latencies()
        self.segments = self.decisions = self.frames = 0
        self.bursts = 0
        """Segments lost as `late` that had not waited: the network delivered several at once."""

        self._context = context
        self._clock = SegmentClock(
            spec,
            lambda image: fit_frame(image, spec.pixels, spec.fit),
            gap_s,
            live,
        )
        self._run = 0
        self._delivery = Delivery(
            name, spec, config.gap_s, lambda text: self.notify("under_delivery", text)
        )
        self._still_picture = StillPicture(
            lambda what, text: self.notify(what, f"The picture of {name} {text}")
        )
        # Of the last segment that was encoded: when its last frame came, and when it was encoded.
        self._completed = self._encoded_at = float("-inf")
        # Arrival of the first frame that the current pause cost.
        self._paused_since: float | None = None
        # A camera's next run begins at this arrival, so that cameras do not fall due together.
        self._phases = phases
        self._begin_at: float | None = None
        if phases is not None:
            phases.join(self)
        # A file was stopped before its end.
        self._stopped_early = False
        # The end mark is in the backlog: frames of an abandoned reader are discarded.
        self._closed = False

    # Called by the source's thread.

    def on_frame(self, frame: Frame) -> None:
        """Take a frame; a file waits here while the runtime or a sink is busy."""
        context = self._context
        while not (
            self.live or context.stopping or self._closed or context.wait_for_room(self.name)
        ):
            pass

        self.frames += 1
        self._delivery.add_frame(frame.arrival)
        if self.live:
            self._still_picture.add(frame.arrival, frame.image)

        if self.paused:
            if self._paused_since is None:
                self._paused_since = frame.arrival
            return
        if self._paused_since is not None:
            self._resume(frame.arrival, self._paused_since)

        # Frames before the phase of a new run are no loss: no window holds them.
        if self._phases is not None and self._clock.empty and self._is_early(frame, self._phases):
            return

        disordered = self._clock.disordered
        for segment in self._clock.push(frame):
            self._delivery.add_segment(segment)
            self._offer(segment)
            if self._phases is not None:
                self._clock.slew(self._phases.slew(self, self._clock.origin))
        if self._clock.disordered > disordered:
            self._count("disorder")

        # The clock knows the time of the frame only now.
        self.preview.add(self._clock.time_s, frame.image)

    def on_gap(self, reason: str) -> None:
        """Start a new run: no window may span the gap."""
        if self._break(reason):
            self._count("gap")
            self._delivery.add_gap(self._clock.run)

    def on_state(self, state: str, detail: str = "") -> None:
        """Note the state of the source, and report a change to the sinks."""
        self._stopped_early = state == "ended" and detail == "stopped"
        # The end is reported later, when everything before it has been decided.
        if state in (self.state, "ended"):
            return
        self.state, self.trouble = state, "" if state == "live" else detail or self.trouble
        if state == "live":
            self._delivery.restart()
            self._still_picture.restart()
        verb = "has" if state == "failed" else "is"
        reason = f" ({detail})" if detail else ""
        self.notify("state", f"{self.name} {verb} {state}{reason}.")

    def on_end(self, error: GasmcastError | None) -> None:
        """Close the lane; the rest of a file is padded and decided unless it was stopped early."""
        if not self.live and not self._stopped_early:
            for segment in self._clock.finish():
                self._offer(segment)
        self._closed = True
        self._offer(Mark("end", error=error))
        if self._phases is not None:
            self._phases.leave(self)

        # An ended lane stays for its counters and must hold no image.
        self._clock = self._clock.emptied()

    # Called by the stages.

    def machine_since(self, segment: Segment, now: float) -> float:
        """Return since when only the machine delays an encoded segment, in monotonic seconds.

        One frame of a slow camera completes several segments. They wait for each other, which is
        the camera's doing.

        Args:
            segment: the newest one.
            now: monotonic seconds.
        """
        together = segment.completed == self._completed
        since = self._encoded_at if together else segment.completed
        self._completed, self._encoded_at = segment.completed, now
        return since

    def finish(self, mark: Mark) -> None:
        """Report the end and free the memory; a process may work through any number of files."""
        if self._context.stopping:
            # Cut short: a view that hangs must not delay the end.
            self.preview.discard()
        else:
            self.preview.release(float("inf"))
        self.ring.release()
        self.still_filter.reset()

        self.error = mark.error
        self.state = "failed" if mark.error else "ended"
        if mark.error is None:
            self.notify("state", f"{self.name} has ended.")

        # Last: whoever waits for `ended` may remove the lane.
        with self._context.changed:
            self.ended = True
            self._context.changed.notify_all()

    def notify(self, what: str, text: str) -> None:
        """Send a notice to the sinks."""
        time_s = round(self._clock.time_s, 6)
        self._context.emit(Notice(self.name, time_s, self._context.wall(), what, text))

    def drop(self, cause: str, segment: Segment) -> None:
        """Count a segment that is not encoded, or (`hop`, `hole`) a window that is not decided."""
        # A saturated machine lets the oldest segment wait for at least one more.
        waited_s = self._context.clock() - segment.completed
        if cause == "late" and waited_s < self._context.spec.segment_s / 2:
            self.bursts += 1
        self._count(cause, run=segment.run, index=segment.index)

    def stats(self) -> CameraStats:
        """Return counters since the start and rates over the last window; 0 for a silent camera."""
        with self._context.changed:
            drops = dict(self.drops)

        silent = self.live and self.state in _SILENT_STATES
        rates = DeliveryRates(0.0, 0.0) if silent else self._delivery.rates()
        return CameraStats(
            camera=self.name,
            state=self.state,
            frames=self.frames,
            segments=self.segments,
            decisions=self.decisions,
            drops={cause: count for cause, count in sorted(drops.items()) if count},
            fps=rates.fps,
            delivery=rates.share,
            latency_ms={} if silent else self.latencies.summary().get("total", {}),
            events=self.rate.events if self.rate else 0,
            events_today=self.rate.events_today if self.rate else 0,
            expected_per_day=self.rate.expected_per_day if self.rate else None,
        )

    def _is_early(self, frame: Frame, phases: Phases) -> bool:
        """Return whether a frame comes before the phase at which the next run begins."""
        if self._begin_at is None:
            self._begin_at = phases.start(self, frame.arrival)
        if frame.arrival < self._begin_at:
            return True
        self._begin_at = None
        return False

    def _resume(self, arrival: float, paused_since: float) -> None:
        """Count the segments of a pause that ends now, and start a new run."""
        missed = round((arrival - paused_since) / self._context.spec.segment_s)
        self._count("turn", by=max(1, missed))
        self._paused_since = None
        self._break("it was another camera's turn")

    def _count(self, cause: str, by: int = 1, **position: int) -> None:
        """Count a loss, also in the recording.

        Args:
            cause: one of `CameraStats.drops`.
            by: number of segments.
            position: `run` and `index` of the segment, if it is a known one.
        """
        # Several threads count while another reads.
        with self._context.changed:
            self.drops[cause] += by
        if self._context.trace:
            fields = {"camera": self.name, "cause": cause, "segments": by, **position}
            self._context.trace("drop", fields)

    def _break(self, reason: str) -> bool:
        """Start a new run; return False if the current one has no frame yet."""
        if self._clock.empty:
            return False

        self._clock.gap()
        self._run = self._clock.run
        if self._phases is not None:
            self._phases.stop(self)
        self._offer(Mark("gap", reason))
        return True

    def _offer(self, item: Segment | Mark) -> None:
        """Put an item into the backlog; a file waits for room, a live camera drops."""
        context = self._context
        with context.changed:
            if isinstance(item, Segment):
                while not (self.live or context.stopping or self._closed) and self.pending.full:
                    context.changed.wait(0.5)
                if context.stopping or self._closed:
                    return

                # The clock itself started a new run, because the stamps jumped.
                if item.run != self._run:
                    self._run = item.run
                    self._append(Mark("gap", "its time stamps jump"))
                if self.live and not self.pending.admit(item, self.whole_windows):
                    return
            self._append(item)

    def _append(self, item: Segment | Mark) -> None:
        self.pending.add(item, self._context.clock())
        self._context.changed.notify_all()


class LaneItem(NamedTuple):
    """Segment or mark that a stage took from the backlog of a lane."""

    lane: Lane
    pending: PendingItem
