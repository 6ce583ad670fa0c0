"""Video files as sources: all frames that training reads, at full speed or in real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gasmcast.runtime.frames import Frame
from gasmcast.runtime.sources.options import ffmpeg_options
from gasmcast.video.reader import read_frames

__all__ = ["FileSource"]


class FileSource:
    """Every frame of a file, as fast as they are consumed.

    Args:
        path: the file.
        name: name of the source.
        realtime: deliver frames at their time stamps, as a camera does; the runtime may then drop
            late ones.
        clock: monotonic seconds.
        sleep: pauses the thread.
    """

    reconnects = False

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        realtime: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.live = realtime
        # An absolute path begins with a slash, so FFmpeg cannot read it as one of its protocols.
        self.path = path.absolute()
        self._clock, self._sleep = clock, sleep

    def frames(self) -> Iterator[Frame]:
        """Yield all frames of the file.

        Raises:
            SourceError: the file cannot be decoded.
        """
        reader = iter(read_frames(self.path))
        with ffmpeg_options("file"):  # the file opens with the request for its first frame
            pair = next(reader, None)

        # Time zero is the first decoded frame, which may take long.
        start = self._clock()
        while pair is not None:
            stamp_s, image = pair
            early_s = start + stamp_s - self._clock()
            if self.live and early_s > 0:
                self._sleep(early_s)
            yield Frame(stamp_s=stamp_s, arrival=self._clock(), image=image)
            pair = next(reader, None)
