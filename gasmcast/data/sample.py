"""One clip of a split, as training, evaluation, calibration and export take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip of a set: a whole video, or an annotated span of one."""

    id: str
    """Name of the clip."""
    label: int | None
    """Class index; None in the test split."""
    video: str | None
    """Path of the video file; None when the set has none."""
    template: str = ""
    """Class name, with or without the brackets of placeholders."""
    source: str | None = None
    """Footage that the clip was cut from, when the set states it."""
    frames: int = 0
    """Number of frames according to a frame list; 0 when it is not stated."""
    start_s: float = 0.0
    """Start of the span in seconds after the first frame of the video."""
    end_s: float | None = None
    """End of the span in seconds after the first frame; None: the end of the video."""
    context_s: float = 0.0
    """Seconds before and after the span that windows may show."""
    place: str = ""
    """Position in the annotations, for messages; empty where it is not kept."""

    @property
    def path(self) -> Path | None:
        """Video file, or None when the set has none."""
        return None if self.video is None else Path(self.video)

    @property
    def is_segment(self) -> bool:
        """Return whether the clip is a part of its video."""
        return self.start_s > 0 or self.end_s is not None

    @property
    def origin(self) -> str:
        """Recording that the clip belongs to: the stated source, the video, or the clip itself."""
        return self.source or self.video or self.id
