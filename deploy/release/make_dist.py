"""Build the source distribution and the wheel, and check what they contain.

`make dist` runs it. Both are built from a copy of the tracked files, so that nothing that lies
around in a working tree (an old `build/lib`, for one) can slip into them. The wheel is built a
second time from the unpacked source distribution, and both must have the same content: the folders
that setuptools maps, and the symbolic links to them, must survive the way through the archive.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

__all__ = ["copy_sources", "wheel_content"]

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Build into the given folder and fail if a check does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder, emptied first")
    out = parser.parse_args().out.resolve()
    shutil.rmtree(out, ignore_errors=True)

    # The time of the last commit in every archive member: the same commit gives the same files.
    when = _output("git", "log", "-1", "--format=%ct")
    os.environ["SOURCE_DATE_EPOCH"] = when

    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        copy_sources(tree)
        _build(tree, out, "--sdist", "--wheel")
        sdist, wheel = next(out.glob("*.tar.gz")), next(out.glob("*.whl"))

        # The second wheel, from nothing but the archive.
        with tarfile.open(sdist) as archive:
            links = [member.name for member in archive if member.issym() or member.islnk()]
            archive.extractall(scratch, filter="data")
        unpacked = Path(scratch) / sdist.name.removesuffix(".tar.gz")
        again = Path(scratch) / "again"
        _build(unpacked, again, "--wheel")

        first, second = wheel_content(wheel), wheel_content(next(again.glob("*.whl")))

    if links:
        sys.exit(f"{sdist.name} contains links, which not every system can unpack: {links}")
    if first != second:
        names = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
        sys.exit(f"The wheel from the tree and the one from {sdist.name} differ in {names}.")

    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel], check=True)
    for path in (sdist, wheel):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {_sha256(path)}")
    print(f"{len(first)} files in the wheel; the same from the tree and from the archive")


def copy_sources(folder: Path) -> None:
    """Copy the files that git tracks, or would, with links as links."""
    names = _output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in names.split("\0"):
        source = ROOT / name
        # A tracked file may have been deleted in the working tree.
        if not name or not source.exists():
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def wheel_content(wheel: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a wheel, by its name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def _build(tree: Path, out: Path, *what: str) -> None:
    command = [sys.executable, "-m", "build", *what, "--outdir", out, tree]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stdout[-4000:] + result.stderr[-4000:])


def _output(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
