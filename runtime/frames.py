"""Input side of the runtime: frames, the sources that deliver them, and their listeners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError

__all__ = ["Frame", "FrameListener", "Source"]


@dataclass(frozen=True)
class Frame:
    """One image of a source."""

    stamp_s: float | None
    """Time stamp of the source in seconds, any origin; None if it has none (`arrival` is used)."""
    arrival: float
    """Monotonic seconds at which the frame could first be read. A frame that waited for the decoder
    arrived before it was decoded."""
    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB, read-only by convention; the size may change between frames."""


class Source(Protocol):
    """Open camera or file."""

    name: str
    live: bool
    """True if frames that are not taken in time are lost (newest wins). A source that is not live
    waits for its reader instead, and loses nothing."""
    reconnects: bool
    """True if its end or failure is an outage, after which it is reopened. A file that is played in
    real time is live and does not reconnect."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, until the end of the file or of the connection.

        Raises:
            SourceError: the source cannot be opened or read; the message is one sentence.
        """
        ...


class FrameListener(Protocol):
    """Receiver of one camera's frames; the camera's thread makes one call at a time."""

    def on_frame(self, frame: Frame) -> None:
        """Take a frame; block while the runtime is busy if the source is not live."""
        ...

    def on_gap(self, reason: str) -> None:
        """Note that frames are missing before the next one; no window may span the gap.

        Args:
            reason: `reconnect`, `stall` or `size change`.
        """
        ...

    def on_state(self, state: str, detail: str = "") -> None:
        """Note the state of the source, which statistics and sinks report.

        Args:
            state: `connecting`, `live`, `stalled`, `reconnecting`, `failed` or `ended`.
            detail: reason, in a few words.
        """
        ...

    def on_end(self, error: GasmcastError | None) -> None:
        """Note that no frame will follow.

        Args:
            error: why the source was given up; None at the end of a file.
        """
        ...
