"""Manifest of a bundle: its files with checksums, and what each precision was measured to do."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec

__all__ = [
    "FORMAT_VERSION",
    "TWINS",
    "AlarmThresholds",
    "BundleFile",
    "Graph",
    "Manifest",
    "Measured",
    "label_problem",
    "read_manifest",
]

FORMAT_VERSION = 1
Graph = Literal["complete", "encoder", "head", "encoder_attention", "head_attention"]
TWINS: dict[str, Graph] = {"encoder": "encoder_attention", "head": "head_attention"}
"""Component -> its attention twin, which gives the same outputs and attention maps beside them."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=1 << 20)]

# A bundle may come from anyone: these bounds are far above every real model.
_LARGEST_MANIFEST = 64_000_000
_LONGEST_LABEL = 1000
_LARGEST_CLIP = 1 << 30
"""Bytes of one clip; the default clip spec has 11 MB."""
_LONGEST_WINDOW_S = 3600.0
_HIGHEST_FPS = 1000.0

# C0, DEL, C1, line separators, and marks that reverse the direction of text: in a terminal or a
# log each of them can forge a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class BundleFile(Frozen):
    """File of a bundle; `graph` and `precision` are None if it is not a network."""

    sha256: str
    size: int = Field(ge=0)
    graph: Graph | None = None
    precision: str | None = None
    maps: dict[str, tuple[Side, ...]] | None = Field(
        default=None,
        description="attention twins: shape of each attention output, without its batch",
    )


class AlarmThresholds(Frozen):
    """Thresholds of events that `gasmcast threshold` chose, and the rate that they hold.

    The rate holds for a camera whose `hop_s`, `smooth_s` and `refractory_s` are those stated here.
    """

    on: Finite = Field(gt=0, le=1, description="probability at which an event starts")
    off: Finite = Field(ge=0, le=1, description="probability below which an event ends")
    min_s: Finite = Field(ge=0, description="seconds before a start is reported")
    label_on: dict[str, Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]] = Field(
        default={}, description="`on` of single labels, where it differs"
    )
    hop_s: Finite = Field(gt=0, description="seconds between decisions")
    smooth_s: Finite = Field(ge=0, description="time constant of smoothing")
    refractory_s: Finite = Field(ge=0, description="seconds after an event without another one")
    at_most_per_day: Finite = Field(gt=0, description="false events a day that were asked for")
    events: int = Field(ge=0, description="events in the idle hours")
    idle_hours: Finite = Field(gt=0, description="hours of all cameras together")
    cameras: int = Field(ge=1, description="number of cameras in the idle hours")
    per_day: Finite = Field(ge=0, description="events a day and camera in the idle hours")
    upper_per_day: Finite = Field(ge=0, description="95 % upper bound of that rate")
    hit_rate: Share | None = Field(default=None, description="share of labeled actions reported")
    mean_delay_s: Finite | None = Field(
        default=None, description="mean time from the start of an action to its report"
    )


class Measured(Frozen):
    """Figures of a precision on held-out clips; shares are 0..1."""

    clips: int = Field(ge=0, description="number of held-out clips")
    top1: Share | None = None
    top5: Share | None = None
    agreement: Share | None = Field(
        default=None, description="share of clips with the same top-1 as FP32"
    )
    temperature: Finite = Field(
        default=1.0, gt=0, description="divides the logits before the softmax"
    )
    no_action: Finite | None = Field(
        default=None, description="below this maximal logit there is no action"
    )
    loss_interval: tuple[Finite, Finite] | None = Field(
        default=None, description="95 % interval of the paired top-1 loss against FP32"
    )
    ece: Share | None = Field(
        default=None, description="calibration error of the top-1 probability, temperature applied"
    )
    engine: str | None = Field(default=None, description="engine that it was measured on, in words")
    alarms: AlarmThresholds | None = Field(
        default=None, description="thresholds that `gasmcast threshold` chose"
    )
    ms: Finite | None = Field(
        default=None,
        ge=0,
        description="median time of encoder and head together, batch 1, on that engine of the "
        "exporting machine",
    )


class Manifest(Frozen):
    """Content of `manifest.json`."""

    format_version: int = FORMAT_VERSION
    gasmcast: str
    created: str = Field(description="UTC, RFC 3339")
    labels: tuple[str, ...]
    spec: ClipSpec
    model: dict[str, Any] = Field(description="the ModelConfig")
    checkpoint_sha256: str
    files: dict[str, BundleFile]
    precisions: dict[str, Measured]
    counts: dict[str, Any] | None = Field(
        default=None,
        description="parameters and multiply-adds by part, as `gasmcast inspect` prints them",
    )
    fits_clips: bool = Field(
        default=False,
        description="the window was fitted to the length of the training clips",
    )

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if problem := label_problem(label):
                raise ValueError(problem)
        return labels

    @field_validator("gasmcast", "created", "checkpoint_sha256")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError(f"{text[:40]!r} contains control characters")
        return text

    @field_validator("precisions")
    @classmethod
    def _check_names(cls, precisions: dict[str, Measured]) -> dict[str, Measured]:
        for name in precisions:
            cls._check_text(name)
        return precisions

    @field_validator("spec")
    @classmethod
    def _check_spec(cls, spec: ClipSpec) -> ClipSpec:
        if not math.isfinite(spec.segment_s) or spec.window_s > _LONGEST_WINDOW_S:
            raise ValueError(f"a window is longer than {_LONGEST_WINDOW_S:.0f} s")
        if spec.motion_frames > _HIGHEST_FPS * spec.segment_s:
            raise ValueError(f"the frame rate is above {_HIGHEST_FPS:.0f} fps")
        if math.prod(spec.clip_shape) > _LARGEST_CLIP:
            raise ValueError("a clip is larger than 1 GiB")
        return spec

    def file(self, graph: Graph, precision: str) -> str:
        """Return the name of the file that holds `graph` in `precision`.

        Raises:
            UsageError: the bundle has no such graph or precision.
        """
        for name, entry in self.files.items():
            if entry.graph == graph and entry.precision == precision:
                return name

        # The remedy depends on what is there.
        available = sorted(
            {f.precision for f in self.files.values() if f.graph == graph and f.precision}
        )
        raise UsageError(
            f"The bundle has no {graph} in {precision}.",
            f"It has {', '.join(available) or 'none'}: export again with --precision {precision}.",
        )


def label_problem(label: str) -> str:
    """Return why a class name cannot be in a bundle; empty if it can.

    Names appear in terminals, logs, JSON and topics, so they must be one line of valid Unicode.
    """
    if not label.strip():
        return "a class name is empty"
    if len(label) > _LONGEST_LABEL:
        return f"the class name {label[:40]!r}... has more than {_LONGEST_LABEL} characters"
    if _CONTROL.search(label):
        return f"the class name {label!r} contains control characters"
    try:
        label.encode()
    except UnicodeEncodeError:
        return f"the class name {label!r} is not valid Unicode"
    return ""


def read_manifest(bundle: Path, verify: bool = True) -> Manifest:
    """Read the manifest of a bundle and check that its files are there.

    Args:
        bundle: folder of the bundle.
        verify: compare the size and checksum of every file.

    Raises:
        UsageError: not a bundle, another format version, values that no export writes, or a file
            is missing, altered, or outside the bundle.
    """
    path = bundle / "manifest.json"
    if not path.is_file():
        raise UsageError(
            f"{bundle} is not a bundle (no manifest.json).",
            "Make one with `gasmcast export CHECKPOINT`.",
        )

    manifest = _parse(path)
    for name, entry in manifest.files.items():
        _check_file(bundle, name, entry, verify)
    return manifest


def _parse(path: Path) -> Manifest:
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise UsageError(f"{path} is damaged (more than 64 MB).", "Export the bundle again.")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = tree.get("format_version")
    # Brackets that are nested deeply exhaust the parser's stack.
    except (ValueError, AttributeError, RecursionError) as error:
        is_deep = isinstance(error, RecursionError)
        reason = "it is nested too deeply" if is_deep else str(error).partition("\n")[0]
        raise UsageError(f"{path} is damaged ({reason}).", "Export the bundle again.") from None

    # The version comes first: another one explains every other mistake.
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{path} has format version {version}, this gasmcast reads {FORMAT_VERSION}.",
            "Export the bundle again with this version.",
        )

    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        # One mistake is enough to know that the bundle must be exported again.
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"{path}: {_printable(place)}: {message}.", "Export the bundle again."
        ) from None
    except (RecursionError, OverflowError) as error:
        raise UsageError(f"{path} is damaged ({error}).", "Export the bundle again.") from None


def _check_file(bundle: Path, name: str, entry: BundleFile, verify: bool) -> None:
    # A bundle may come from anyone, so its names must not lead out of its folder.
    if not name or Path(name).name != name or _printable(name) != name:
        raise UsageError(
            f"{bundle / 'manifest.json'} names {name!r}, which is no file of a bundle.",
            "Do not use this bundle.",
        )

    file = bundle / name
    try:
        there = file.is_file()
    except OSError:  # for example a name that is too long
        there = False
    if not there:
        raise UsageError(f"{bundle} lacks {name}.", "Copy the whole directory, or export again.")

    # The size is compared first because it costs nothing.
    if verify and (file.stat().st_size != entry.size or sha256_of(file) != entry.sha256):
        raise UsageError(
            f"{file} is not the file that was exported (checksum).",
            "Copy it again from its origin, or export again.",
        )


def _printable(text: str) -> str:
    """Return a text of the manifest as one line that is safe to print."""
    return text if text.isprintable() else ascii(text)[1:-1]
