"""What the user says of a camera: on the command line, or in a list of cameras (`@cameras.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings
from gasmcast.yamlfile import read_yaml

__all__ = ["CameraSpec", "read_cameras"]

Share = Annotated[float, Field(ge=0, le=1)]


class CameraSpec(Frozen):
    """One camera. Places in the picture are shares of its width and height, so they hold when the resolution changes."""

    source: str = Field(min_length=1, description="as on the command line; secrets as ${NAME}")
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]{0,64}$",
        description="for topics, files and metrics; from the source when empty",
    )
    region: tuple[Share, Share, Share, Share] | None = Field(
        None, description="x, y, width, height: the only part that is looked at"
    )
    mask: tuple[tuple[tuple[Share, Share], ...], ...] = Field(
        (), description="polygons of (x, y), blacked out"
    )
    max_fps: float | None = Field(None, gt=0, description="pictures beyond this are skipped")
    settings: dict[str, Any] = Field(
        {}, description="settings of `gasmcast live` that differ for this camera"
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
        if any(len(polygon) < 3 for polygon in mask):
            raise ValueError("a polygon of a mask needs at least 3 points")
        return mask


def read_cameras(path: Path) -> list[CameraSpec]:
    """The cameras of a YAML file: a list of them under `cameras`, or one source a line as plain text.

    Raises:
        UsageError: no such file, not YAML, no cameras, two of one name, an unknown key (the nearest good one is named), a bad value.
    """
    tree = read_yaml(path, "Give a list of cameras: @cameras.yaml.")
    entries = tree.get("cameras") if isinstance(tree, dict) and set(tree) == {"cameras"} else tree
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f"{path} lists no cameras.",
            "Write `cameras:` and below it `- {name: door, source: rtsp://...}`.",
        )
    trees = [{"source": entry} if isinstance(entry, str | int) else entry for entry in entries]
    cameras = [
        check_settings(CameraSpec, tree, f"{path}, camera {number}")
        for number, tree in enumerate(trees, 1)
    ]
    names = [camera.name for camera in cameras if camera.name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{path} has two cameras named {twice!r}.", "Give each its own name.")
    return cameras
