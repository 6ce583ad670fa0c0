"""Write a bundle into a draft folder, then rename it; a failed export leaves nothing behind."""

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
    """Refuse to replace anything but a bundle or an empty folder.

    Raises:
        UsageError: `out` exists and is not a bundle.
    """
    if not out.exists() or _is_bundle(out):
        return
    if not out.is_dir() or any(out.iterdir()):
        raise UsageError(f"{out} exists and is not a bundle.", "Give another --out, or remove it.")


def _is_bundle(out: Path) -> bool:
    """Return True if the folder has a manifest of gasmcast, of any format version."""
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        # Other programs have a manifest.json too.
        return {"format_version", "checkpoint_sha256"} <= set(manifest)
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def draft_bundle(out: Path) -> Iterator[Path]:
    """Make a folder to write into; it becomes `out` if the block succeeds, else it is removed.

    Raises:
        UsageError: `out` exists and is not a bundle.
    """
    check_target(out)

    # The draft lies beside its target: a rename is atomic only within one file system.
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()

    try:
        yield draft

        # A folder cannot replace another one that has files, so the old bundle moves away first.
        if out.exists():
            out.replace(old)
        draft.replace(out)
    finally:
        # A signal may have stopped the process between the two renames.
        if old.exists() and not out.exists():
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
    """Write `manifest.json` for all files in a folder.

    Args:
        folder: folder of the bundle.
        graphs: file name -> component and precision, for files that are networks.
        labels: class names in the order of the logits.
        spec: sampling contract.
        model: the `ModelConfig` as plain data.
        checkpoint_sha256: digest of the checkpoint.
        precisions: what each precision was measured to do.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == "manifest.json" or not path.is_file():
            continue
        # Reports, and weights stored beside their graph, are files without a component.
        graph, precision = graphs.get(path.name, (None, None))
        files[path.name] = BundleFile(
            sha256=sha256_of(path), size=path.stat().st_size, graph=graph, precision=precision
        )

    # `gasmcast inspect` shows the counts without building the model.
    config = Config(spec=spec, model=ModelConfig.model_validate(model))
    manifest = Manifest(
        gasmcast=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        labels=labels.names,
        spec=spec,
        model=model,
        checkpoint_sha256=checkpoint_sha256,
        files=files,
        precisions=precisions,
        counts=count(config).to_json(),
    )
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return manifest
