"""What comes in: frames, the sources that give them, and who is told about them."""

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
    """One picture of a source."""

    stamp_s: float | None
    """The source's own time stamp in seconds, any origin; None where the source has none (then `arrival` is used)."""
    arrival: float
    """When it was there to be taken, on the monotonic clock of this machine, seconds; what waited to be decoded was there before."""
    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB; size may change from frame to frame. Nobody writes into it."""


class Source(Protocol):
    """A camera or file that is open."""

    name: str
    live: bool
    """Live: frames that are not taken in time are lost (newest wins). Not live: reading waits, nothing is lost."""
    reconnects: bool
    """Its end or failure is an outage, after which it is opened anew; else its end is the end. A file at its own pace is live and ends."""

    def frames(self) -> Iterator[Frame]:
        """The frames in order; the end of the iterator is the end of the file (for a live source: of the stream).

        Raises:
            SourceError: it cannot be opened or read, in one sentence.
        """
        ...


class FrameListener(Protocol):
    """The runtime's side of one camera. The camera's own thread calls it, one call at a time."""

    def on_frame(self, frame: Frame) -> None:
        """A frame has come. For a source that is not live this blocks while the runtime is busy."""
        ...

    def on_gap(self, reason: str) -> None:
        """Frames are missing before the next one (reconnect, stall, size change): no window may span this."""
        ...

    def on_state(self, state: str, detail: str = "") -> None:
        """The source is now `connecting`, `live`, `stalled`, `reconnecting`, `failed` or `ended`; shown in statistics and told to sinks."""
        ...

    def on_end(self, error: GasmcastError | None) -> None:
        """No frame will come any more: the end of a file (None), or a source that was given up."""
        ...
