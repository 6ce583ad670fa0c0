"""Write a bundle into a draft folder, then rename it; a failed export leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
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

_OF_THE_DESKTOP = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that file managers put into every folder."""


def check_target(out: Path, force: bool = False) -> Path:
    """Check that a bundle may be written, and return its folder with links resolved.

    Args:
        out: folder to write; a link stands for the folder that it leads to.
        force: a bundle there may be replaced.

    Raises:
        UsageError: `out` exists and is no bundle; it is one and `force` is not given; or it holds
            files that are not of the bundle.
    """
    # A link stays a link: what is replaced is the bundle behind it.
    try:
        target = out.resolve() if out.is_symlink() else out
        exists = target.exists()
    except (OSError, RuntimeError) as error:  # a loop of links; its type depends on the version
        raise UsageError(f"{out} leads nowhere ({error}).", "Give another --out.") from None
    if not exists:
        return target

    manifest = _manifest_of(target)
    if manifest is None:
        if not target.is_dir() or any(target.iterdir()):
            raise UsageError(
                f"{out} exists and is not a bundle.", "Give another --out, or remove it."
            )
        return target

    if not force:
        raise UsageError(
            f"{out} is a bundle already.", "Give another --out, or --force to replace it."
        )
    foreign = _foreign_files(target, manifest)
    if foreign:
        raise UsageError(
            f"{out} holds files that are not of the bundle, such as {foreign[0]}; they would be "
            "lost.",
            "Move them elsewhere, or give another --out.",
        )
    return target


def _manifest_of(out: Path) -> dict[str, Any] | None:
    """Return a manifest of gasmcast, of any format version; None if the folder has none."""
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        # Other programs have a manifest.json too.
        ours = {"format_version", "checkpoint_sha256"} <= set(manifest)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return manifest if ours and isinstance(manifest, dict) else None


def _foreign_files(out: Path, manifest: dict[str, Any]) -> list[str]:
    """Return what is in a bundle's folder and not in its manifest."""
    files = manifest.get("files")
    known = {"manifest.json", *_OF_THE_DESKTOP, *(files if isinstance(files, dict) else ())}
    return sorted(path.name for path in out.iterdir() if path.name not in known)


@contextmanager
def draft_bundle(out: Path, force: bool = False) -> Iterator[Path]:
    """Make a folder to write into; it becomes `out` if the block succeeds, else it is removed.

    Drafts that killed exports of the same bundle left are removed first.

    Args:
        out: folder to write; a link stands for the folder that it leads to.
        force: a bundle there may be replaced.

    Raises:
        UsageError: see `check_target`.
    """
    target = check_target(out, force)

    # The draft lies beside its target: a rename is atomic only within one file system.
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_drafts(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()

    locks = [_lock(draft)]
    try:
        yield draft

        # Somebody may have put files there while the export ran. A folder cannot replace another
        # one that has files, so the old bundle moves away first.
        check_target(target, force)
        if target.exists():
            locks.append(_lock(target))
            target.replace(old)
        draft.replace(target)
    finally:
        # A signal may have stopped the process between the two renames.
        if old.exists() and not target.exists():
            old.replace(target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)
        for lock in locks:
            if lock is not None:
                os.close(lock)


def _sweep_drafts(out: Path) -> None:
    """Remove drafts of `out` that killed exports left, and bring back a bundle that one moved.

    A draft of an export that runs is locked and stays.
    """
    pattern = re.compile(re.escape(f".{out.name}.") + r"\d+\.(draft|old)")
    for path in sorted(out.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_dir():
            continue
        lock = _lock(path)
        if lock is None:
            continue

        try:
            # The export was killed between its two renames: this is the bundle.
            if match[1] == "old" and not out.exists():
                path.replace(out)
            else:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as its descriptor is open; None if another process has it locked.

    None also where folders cannot be locked; drafts of killed exports stay there.
    """
    try:
        import fcntl  # noqa: PLC0415 - Windows has none

        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def write_manifest(
    folder: Path,
    graphs: dict[str, tuple[Graph, str]],
    *,
    labels: Labels,
    spec: ClipSpec,
    model: dict[str, Any],
    checkpoint_sha256: str,
    precisions: dict[str, Measured],
    maps: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType({}),
    fits_clips: bool = False,
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
        maps: file name of an attention twin -> shape of each attention output.
        fits_clips: the window was fitted to the length of the training clips.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == "manifest.json" or not path.is_file():
            continue
        # Reports, and weights stored beside their graph, are files without a component.
        graph, precision = graphs.get(path.name, (None, None))
        files[path.name] = BundleFile(
            sha256=sha256_of(path),
            size=path.stat().st_size,
            graph=graph,
            precision=precision,
            maps=dict(maps[path.name]) if path.name in maps else None,
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
        fits_clips=fits_clips,
    )
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return manifest
