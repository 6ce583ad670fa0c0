"""Fetch pretrained weights once, verified, with size, license and progress on standard error."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from gasmcast.errors import MachineError
from gasmcast.files import atomic_path, sha256_of
from gasmcast.models.backbones.download import ChecksumError, DownloadError, download
from gasmcast.models.backbones.published import (
    PublishedWeights,
    cached_motion,
    cached_semantic,
    hub_headers,
    publish_motion,
    publish_semantic,
    weights_folder,
)
from gasmcast.models.backbones.weight_files import no_weights
from gasmcast.progress import Progress

__all__ = ["announce", "copy_cached", "fetch", "pretrained_motion", "pretrained_semantic"]


def pretrained_semantic(timm_name: str) -> Path:
    """Return the file of timm's pretrained weights; download it if this machine lacks it.

    Raises:
        MachineError: the weights can be neither downloaded nor found, or are not the published
            ones.
    """
    cached = cached_semantic(timm_name)
    return cached or _downloaded(timm_name, publish_semantic, "--semantic-weights")


def pretrained_motion(name: str) -> Path:
    """Return the file of torchvision's default weights; download it if this machine lacks it.

    Raises:
        MachineError: the weights can be neither downloaded nor found, or are not the published
            ones.
    """
    return cached_motion(name) or _downloaded(name, publish_motion, "--motion-weights")


def fetch(weights: PublishedWeights, folder: Path, report: Callable[[str], None]) -> Path:
    """Download a file of weights into a folder, or continue a download that broke off there.

    Args:
        weights: what to download.
        folder: where to; it is created.
        report: receives a line before and after.

    Raises:
        DownloadError: the server cannot be reached, refuses, or sends another file.
    """
    target = folder / weights.file
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{weights.file}.lock")

    # Of the processes of a run, one downloads and the others wait.
    with lock:
        if not target.is_file():
            report(announce(weights))
            download(
                weights.url,
                target,
                weights.sha256,
                headers=hub_headers(weights.url),
                progress=_print_progress(),
            )
            report(f"Verified by its SHA-256: {target}")
    Path(lock.lock_file).unlink(missing_ok=True)
    return target


def copy_cached(weights: PublishedWeights, cached: Path, folder: Path) -> Path | None:
    """Copy weights that this machine has already; None if they are not the published ones."""
    if not sha256_of(cached).startswith(weights.sha256):
        return None
    target = folder / weights.file
    with atomic_path(target) as draft:
        shutil.copyfile(cached, draft)
    return target


def announce(weights: PublishedWeights) -> str:
    """Return what a user should know before a download: size, address and license."""
    return (
        f"Downloading the weights of {weights.backbone}, {weights.size / 1e6:.0f} MB, from "
        f"{weights.url}\nLicense: {weights.license} ({weights.page})"
    )


def _downloaded(name: str, publish: Callable[[str], PublishedWeights], option: str) -> Path:
    try:
        return fetch(publish(name), weights_folder(), _print_line)
    except ChecksumError as error:
        raise MachineError(
            f"The downloaded weights of {name} were refused: {error}.",
            f"Try again, or give a file with {option} FILE.",
        ) from None
    except DownloadError as error:
        raise no_weights(name, option, error) from None


def _print_line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_progress() -> Progress:
    """Return a callback that prints percentages: in place on a terminal, else every tenth."""
    terminal = sys.stderr.isatty()
    step = 1 if terminal else 10
    last = -1

    def show(stage: str, done: int = 0, total: int = 0) -> None:
        nonlocal last
        # A line per chunk would flood a log.
        percent = 100 * done // total if total else 0
        if percent // step <= last:
            return

        last = percent // step
        end = "\n" if not terminal or percent == 100 else ""
        line = f"{stage} {percent:3d} %  {done / 1e6:.1f} of {total / 1e6:.1f} MB"
        print(f"\r{line}" if terminal else line, end=end, file=sys.stderr, flush=True)

    return show
