"""Run video files through the live pipeline and return the logits of their windows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gasmcast.errors import SourceError
from gasmcast.progress import Progress, silent
from gasmcast.runtime.alarms.idle_recorder import IdleRecorder
from gasmcast.runtime.alarms.idle_store import IdleHead, IdleLogits, read_idle
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.streaming_model import Model

__all__ = ["idle_head", "run_files"]


def idle_head(model: Model, config: LiveConfig, checkpoint_sha256: str = "") -> IdleHead:
    """Return the head of a file with the logits of this model."""
    return IdleHead(
        labels=tuple(model.labels.names),
        precision=model.precision,
        checkpoint_sha256=checkpoint_sha256,
        window_s=model.spec.window_s,
        hop_s=config.hop * model.spec.segment_s,
    )


def run_files(
    model: Model,
    config: LiveConfig,
    videos: Sequence[Path],
    *,
    progress: Progress = silent,
) -> IdleLogits:
    """Return the logits of all windows of the videos, as `live` computes them.

    Args:
        model: engines of a bundle.
        config: settings of the run.
        videos: files; each is a camera named by its path.
        progress: called with the number of videos that have ended.

    Raises:
        SourceError: a video cannot be read.
        KeyboardInterrupt: the run was stopped by a signal.
    """
    with tempfile.TemporaryDirectory(prefix="gasmcast-logits-") as folder:
        path = Path(folder) / "logits.npz"
        recorder = IdleRecorder(path, idle_head(model, config))
        session = Session(model, config, [], recorder=recorder)
        for video in videos:
            session.add(FileSource(video, str(video)))

        def show() -> bool:
            ended = sum(lane.ended for lane in session.pipeline.lanes.values())
            progress("running videos", ended, len(videos))
            time.sleep(0.1)
            return True

        errors = session.run(idle=show)
        if session.stopped:
            raise KeyboardInterrupt
        if errors:
            raise errors[0]
        recorder.merge()
        if not recorder.rows:
            raise SourceError("No video fills a window.", "Give longer videos.")
        return read_idle(path)
