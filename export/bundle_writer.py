"""Writing a bundle: everything into a folder beside the target, then one rename; a failed export leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gasmcast import __version__
from gasmcast.config import Config, ModelConfig
from gasmcast.errors import UsageError
from gasmcast.files import sha256_of, write_atomic
from gasmcast.labels import Labels
from gasmcast.manifest import BundleFile, Graph, Manifest, Measured
from gasmcast.models.counts import count
from gasmcast.spec import ClipSpec

__all__ = ["check_target", "draft_bundle", "write_manifest"]


def check_target(out: Path) -> None:
    """Refuse to replace anything but a bundle.

    Raises:
        UsageError: `out` is there and is not a bundle.
    """
    if out.exists() and not _is_bundle(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} is there and is not a bundle.", "Give another --out, or remove it."
        )


def _is_bundle(out: Path) -> bool:
    """Whether a folder's manifest is one of ours, of whatever version: other programs have a manifest.json too."""
    try:
        return {"format_version", "checkpoint_sha256"} <= set(
            json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def draft_bundle(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `out` when the block ends well, and goes when it does not.

    Raises:
        UsageError: `out` is there and is not a bundle.
    """
    check_target(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        yield draft
        if out.exists():
            out.replace(old)
        draft.replace(out)
    finally:
        if old.exists() and not out.exists():  # ended between the two renames
            old.replace(out)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)


def write_manifest(
    folder: Path,
    graphs: dict[str, tuple[Graph, str]],
    *,
    labels: Labels,
    spec: ClipSpec,
    model: dict[str, Any],
    checkpoint_sha256: str,
    precisions: dict[str, Measured],
) -> Manifest:
    """`manifest.json` over every file in `folder`; `graphs` says which file is which network and precision."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == "manifest.json" or not path.is_file():
            continue
        graph, precision = graphs.get(path.name, (None, None))
        files[path.name] = BundleFile(
            sha256=sha256_of(path), size=path.stat().st_size, graph=graph, precision=precision
        )
    manifest = Manifest(
        gasmcast=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        labels=labels.names,
        spec=spec,
        model=model,
        checkpoint_sha256=checkpoint_sha256,
        files=files,
        precisions=precisions,
        counts=count(Config(spec=spec, model=ModelConfig.model_validate(model))).to_json(),
    )
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return manifest
