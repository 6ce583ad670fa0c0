"""A bundle's manifest: what is in the directory, what it was measured to be, and whether it is still what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec

__all__ = ["FORMAT_VERSION", "BundleFile", "Manifest", "Measured", "read_manifest"]

FORMAT_VERSION = 1
Graph = Literal["complete", "encoder", "head"]


class BundleFile(Frozen):
    """A file of the bundle; `graph` and `precision` where it is a network."""

    sha256: str
    size: int
    graph: Graph | None = None
    precision: str | None = None


class Measured(Frozen):
    """What a precision was measured to do on held-out clips; shares are 0..1."""

    clips: int = Field(description="how many held-out clips")
    top1: float | None = None
    top5: float | None = None
    agreement: float | None = Field(None, description="share of clips with the same top-1 as FP32")
    temperature: float = Field(1.0, description="divides the logits before the softmax")
    no_action: float | None = Field(None, description="below this maximal logit there is no action")
    loss_interval: tuple[float, float] | None = Field(
        None, description="95 % interval of the paired top-1 loss against FP32"
    )
    ece: float | None = Field(
        None, description="calibration error of the top-1 probability, temperature applied"
    )
    engine: str | None = Field(None, description="what it was measured on, in words")
    ms: float | None = Field(
        None,
        description="median of encoder and head together, batch 1, on that engine where it was exported",
    )


class Manifest(Frozen):
    """`manifest.json`."""

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
        None, description="parameters and multiply-adds by part, as `gasmcast inspect` prints them"
    )

    def file(self, graph: Graph, precision: str) -> str:
        """The name of the file that holds `graph` in `precision`.

        Raises:
            UsageError: the bundle has no such graph or precision.
        """
        for name, entry in self.files.items():
            if entry.graph == graph and entry.precision == precision:
                return name
        have = sorted(
            {f.precision for f in self.files.values() if f.graph == graph and f.precision}
        )
        raise UsageError(
            f"The bundle has no {graph} in {precision}.",
            f"It has {', '.join(have) or 'none'}: export again with --precision {precision}.",
        )


def read_manifest(bundle: Path, verify: bool = True) -> Manifest:
    """The manifest of a bundle; with `verify`, every file's size and checksum is compared.

    Raises:
        UsageError: not a bundle, another format version, a file missing, altered, or outside the bundle.
    """
    path = bundle / "manifest.json"
    if not path.is_file():
        raise UsageError(
            f"{bundle} is not a bundle (no manifest.json).",
            "Make one with `gasmcast export CHECKPOINT`.",
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = tree.get("format_version")
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}).", "Export the bundle again.") from None
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{path} has format version {version}, this gasmcast reads {FORMAT_VERSION}.",
            "Export the bundle again with this version.",
        )
    try:
        manifest = Manifest.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            "Export the bundle again.",
        ) from None
    for name, entry in manifest.files.items():
        file = bundle / name
        if Path(name).name != name:
            raise UsageError(
                f"{path} names {name!r}, outside the bundle.", "Do not use this bundle."
            )
        if not file.is_file():
            raise UsageError(
                f"{bundle} lacks {name}.", "Copy the whole directory, or export again."
            )
        if verify and (file.stat().st_size != entry.size or sha256_of(file) != entry.sha256):
            raise UsageError(
                f"{file} is not the file that was exported (checksum).",
                "Copy it again from its origin, or export again.",
            )
    return manifest
