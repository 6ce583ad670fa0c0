"""Settings of one camera, from the command line or a list of cameras (`@cameras.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings
from gasmcast.yamlfile import read_yaml

__all__ = ["CameraSpec", "read_cameras"]

# Positions are relative, so the type rules out pixels.
Share = Annotated[float, Field(ge=0, le=1)]


class CameraSpec(Frozen):
    """Settings of one camera.

    Positions are shares of the picture's width and height, so they hold at any resolution.
    """

    source: str = Field(min_length=1, description="as on the command line; secrets as ${NAME}")
    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.-]{0,64}$",
        description="for topics, files and metrics; derived from the source when empty",
    )
    region: tuple[Share, Share, Share, Share] | None = Field(
        default=None, description="x, y, width, height of the only part that is analyzed"
    )
    mask: tuple[tuple[tuple[Share, Share], ...], ...] = Field(
        default=(), description="polygons of (x, y), blacked out"
    )
    max_fps: float | None = Field(
        default=None, gt=0, description="pictures beyond this rate are skipped"
    )
    settings: dict[str, Any] = Field(
        default={}, description="settings of `gasmcast live` that differ for this camera"
    )

    @field_validator("source", mode="before")
    @classmethod
    def _index(cls, source: object) -> object:
        return str(source) if type(source) is int else source  # `source: 0` is a webcam

    @field_validator("region")
    @classmethod
    def _inside(
        cls, region: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if region is not None:
            x, y, width, height = region
            if width <= 0 or height <= 0 or x + width > 1 or y + height > 1:
                raise ValueError(
                    "a region is x, y, width, height inside the picture, in shares of it (0 to 1)"
                )
        return region

    @field_validator("mask")
    @classmethod
    def _polygons(
        cls, mask: tuple[tuple[tuple[float, float], ...], ...]
    ) -> tuple[tuple[tuple[float, float], ...], ...]:
        # OpenCV draws a line for two points, which hides nothing.
        if any(len(polygon) < 3 for polygon in mask):
            raise ValueError("a polygon of a mask needs at least 3 points")
        return mask


def read_cameras(path: Path) -> list[CameraSpec]:
    """Read the cameras of a YAML file: a list under `cameras`, or one source per line.

    Raises:
        UsageError: no such file, not YAML, no cameras, a name twice, an unknown key (the message
            names the most similar one), a bad value.
    """
    tree = read_yaml(path, "Give a list of cameras: @cameras.yaml.")
    entries = tree
    if isinstance(tree, dict) and set(tree) == {"cameras"}:
        entries = tree["cameras"]
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f"{path} lists no cameras.",
            "Write `cameras:` and below it `- {name: door, source: rtsp://...}`.",
        )

    cameras = []
    for number, entry in enumerate(entries, 1):
        # A plain line is a source without settings.
        fields = {"source": entry} if isinstance(entry, str | int) else entry
        cameras.append(check_settings(CameraSpec, fields, f"{path}, camera {number}"))

    # Empty names are derived from the source later, and made unique there.
    names = [camera.name for camera in cameras if camera.name]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UsageError(f"{path} has two cameras named {duplicate!r}.", "Rename one of them.")
    return cameras
