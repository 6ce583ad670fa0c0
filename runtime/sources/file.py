"""A video file as a source: the frames that training reads, none lost; or at the pace they were filmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gasmcast.runtime.frames import Frame
from gasmcast.runtime.sources.options import ffmpeg_options
from gasmcast.video.reader import read_frames

__all__ = ["FileSource"]


class FileSource:
    """Every frame of a file, as fast as they are taken.

    With `realtime` they come when their time stamps say, like a camera's: late ones are then the runtime's to drop.
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
        # Absolute: begins with a slash, so no file name can be read as one of FFmpeg's protocols.
        self.path = path.absolute()
        self._clock, self._sleep = clock, sleep

    def frames(self) -> Iterator[Frame]:
        """Raises: SourceError, as `read_frames`."""
        reader = iter(read_frames(self.path))
        with ffmpeg_options("file"):  # the file opens when its first frame is asked for
            pair = next(reader, None)
        start = self._clock()
        while pair is not None:
            stamp, image = pair
            if self.live and (early := start + stamp - self._clock()) > 0:
                self._sleep(early)
            yield Frame(stamp_s=stamp, arrival=self._clock(), image=image)
            pair = next(reader, None)
