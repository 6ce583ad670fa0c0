"""Record the logits of idle hours, for `gasmcast background`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gasmcast.errors import MachineError, UsageError
from gasmcast.manifest import read_manifest
from gasmcast.progress import Progress, silent

if TYPE_CHECKING:
    from gasmcast.runtime.alarms.idle_recorder import IdleRecorder
    from gasmcast.runtime.alarms.idle_store import IdleHead, IdleLogits
    from gasmcast.runtime.camera_list import CameraEntry
    from gasmcast.runtime.session import Session

__all__ = ["IdleResult", "record_background"]


@dataclass(frozen=True)
class IdleResult:
    """Result of `gasmcast background`; truthy when the hours are complete."""

    path: Path
    hours: dict[str, float]
    """Hours by camera, with those of earlier runs."""
    wanted_hours: float

    def __bool__(self) -> bool:
        return all(value >= self.wanted_hours * (1 - 1e-6) for value in self.hours.values())

    def __str__(self) -> str:
        total = sum(self.hours.values())
        proves = f"{24 * 2.9957 / total:.3g}" if total else "nothing"
        return (
            f"{self.path}: {total:.2f} idle hours of {len(self.hours)} cameras; without an event "
            f"they prove at most {proves} a day (95 %)."
        )


def record_background(
    sources: Sequence[str],
    bundle: Path | str,
    hours: float,
    out: Path | str,
    *,
    precision: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    config: Path | None = None,
    progress: Progress = silent,
) -> IdleResult:
    """Run the live pipeline on cameras and store logits and times, without pictures.

    A second call with the same `out` adds the hours that are missing.

    Args:
        sources: sources as `gasmcast live` takes them.
        bundle: folder that `gasmcast export` wrote.
        hours: hours of each camera in the file when it is complete; files end when they end.
        out: file to write or to continue.
        precision: auto, or a precision of the bundle.
        engine: backend.
        threads: CPU threads; None: all cores.
        config: YAML of `live`'s settings; only `hop` matters.
        progress: called with the seconds that are recorded.

    Raises:
        UsageError: wrong sources or settings, or `out` holds logits of another model.
        MachineError: the disk cannot hold the hours, or is full.
        SourceError: a source cannot be read.
    """
    from gasmcast.runtime.alarms.idle_recorder import IdleRecorder  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.idle_store import merge_parts, read_idle  # noqa: PLC0415 - heavy
    from gasmcast.runtime.alarms.run_files import idle_head  # noqa: PLC0415 - heavy
    from gasmcast.runtime.camera_list import CameraList  # noqa: PLC0415 - heavy
    from gasmcast.runtime.capacity import fit  # noqa: PLC0415 - heavy
    from gasmcast.runtime.live_settings import load_live_config  # noqa: PLC0415 - heavy
    from gasmcast.runtime.session import Session  # noqa: PLC0415 - heavy
    from gasmcast.runtime.streaming_model import open_model  # noqa: PLC0415 - heavy

    # Whatever can be refused is refused before the first hour.
    path = Path(out)
    settings = load_live_config(config)
    cameras = CameraList(sources, settings)
    manifest = read_manifest(Path(bundle), verify=False)
    opened = open_model(Path(bundle), engine, precision, threads, tempo=settings.tempo)
    head = idle_head(opened.model, settings, manifest.checkpoint_sha256)

    # What an earlier run has recorded is continued, also after a power failure.
    merge_parts(path)
    stored: dict[str, float] = {}
    first_run = 0
    if path.is_file():
        idle = _continued(path, head)
        head, stored = idle.head, idle.hours()
        first_run = int(idle.run.max(initial=-1)) + 1

    # Only what is missing is recorded, and only if it fits on the disk.
    entries = [e for e in cameras.entries if e.source.name not in head.finished]
    live_names = [e.source.name for e in entries if e.source.live]
    missing_h = max([hours - stored.get(name, 0.0) for name in live_names], default=hours)
    if not entries or missing_h <= 1e-6:
        return IdleResult(path, stored, 0.0 if not live_names else hours)

    _check_space(path, missing_h * len(entries) * 3600 / head.hop_s * (4 * len(head.labels) + 16))

    # The cameras run as in `live`, with a recorder in place of sinks.
    recorder = IdleRecorder(path, head, first_run=first_run)
    model, _, capacity = fit(opened, settings, len(live_names))
    session = Session(model, settings, [], recorder=recorder, capacity=capacity)
    for entry in entries:
        session.add(entry.source, entry.config, entry.recorded_as, entry.crop)

    began, limit_s = time.monotonic(), missing_h * 3600

    def show() -> bool:
        seconds = int(time.monotonic() - began)
        progress("recording idle seconds", seconds, int(limit_s) if live_names else 0)
        time.sleep(0.2)
        return not recorder.trouble

    # A file that was stopped in its middle must be read again.
    errors = session.run(limit_s, idle=show)
    if not session.stopped:
        _finish_files(session, recorder, entries)
    if recorder.trouble:
        raise MachineError(f"{recorder.trouble}.", "Free some space, and run it again.")

    # What was recorded is kept, even if a source failed.
    recorder.merge()
    if errors and not session.stopped:
        raise errors[0]

    recorded = read_idle(path).hours()
    return IdleResult(path, recorded, hours if live_names else 0.0)


def _continued(path: Path, head: IdleHead) -> IdleLogits:
    """Return what an earlier run has recorded with the same model."""
    from gasmcast.runtime.alarms.idle_store import read_idle  # noqa: PLC0415 - heavy

    idle = read_idle(path)
    if not idle.head.same_model(head):
        raise UsageError(
            f"{path} holds logits of another model, precision or hop.",
            "Give --out another file, or the --precision of the first run.",
        )
    return idle


def _finish_files(session: Session, recorder: IdleRecorder, entries: Sequence[CameraEntry]) -> None:
    """Note the files that were read to their end, so that a further run leaves them out."""
    for entry in entries:
        lane = session.pipeline.lanes.get(entry.source.name)
        if not entry.source.live and lane is not None and lane.frames and lane.state == "ended":
            recorder.finish_file(entry.source.name)


def _check_space(path: Path, wanted: float) -> None:
    """Refuse a recording that the disk cannot hold twice, because merging needs a copy."""
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if 2 * wanted > free:
        raise MachineError(
            f"The logits need up to {2 * wanted / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f}.",
            "Record fewer --hours, or with a larger hop in --config.",
        )
