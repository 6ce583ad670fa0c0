"""Manifest of a bundle: its files with checksums, and what each precision was measured to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec

__all__ = ["FORMAT_VERSION", "BundleFile", "Graph", "Manifest", "Measured", "read_manifest"]

FORMAT_VERSION = 1
Graph = Literal["complete", "encoder", "head"]


class BundleFile(Frozen):
    """File of a bundle; `graph` and `precision` are None if it is not a network."""

    sha256: str
    size: int
    graph: Graph | None = None
    precision: str | None = None


class Measured(Frozen):
    """Figures of a precision on held-out clips; shares are 0..1."""

    clips: int = Field(description="number of held-out clips")
    top1: float | None = None
    top5: float | None = None
    agreement: float | None = Field(
        default=None, description="share of clips with the same top-1 as FP32"
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="divides the logits before the softmax",
    )
    no_action: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="below this maximal logit there is no action",
    )
    loss_interval: tuple[float, float] | None = Field(
        default=None, description="95 % interval of the paired top-1 loss against FP32"
    )
    ece: float | None = Field(
        default=None, description="calibration error of the top-1 probability, temperature applied"
    )
    engine: str | None = Field(default=None, description="engine that it was measured on, in words")
    ms: float | None = Field(
        default=None,
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


def read_manifest(bundle: Path, verify: bool = True) -> Manifest:
    """Read the manifest of a bundle and check that its files are there.

    Args:
        bundle: folder of the bundle.
        verify: compare the size and checksum of every file.

    Raises:
        UsageError: not a bundle, another format version, or a file is missing, altered, or outside
            the bundle.
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
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = tree.get("format_version")
    except RecursionError:
        raise UsageError(
            f"{path} is damaged (it is nested too deeply).", "Export the bundle again."
        ) from None
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}).", "Export the bundle again.") from None

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
        first = error.errors()[0]
        raise UsageError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            "Export the bundle again.",
        ) from None


def _check_file(bundle: Path, name: str, entry: BundleFile, verify: bool) -> None:
    # A bundle may come from anyone, so its names must not lead out of its folder.
    if Path(name).name != name:
        raise UsageError(
            f"{bundle / 'manifest.json'} names {name!r}, outside the bundle.",
            "Do not use this bundle.",
        )

    file = bundle / name
    if not file.is_file():
        raise UsageError(f"{bundle} lacks {name}.", "Copy the whole directory, or export again.")

    # The size is compared first because it costs nothing.
    if verify and (file.stat().st_size != entry.size or sha256_of(file) != entry.sha256):
        raise UsageError(
            f"{file} is not the file that was exported (checksum).",
            "Copy it again from its origin, or export again.",
        )
