"""Print the memory of a worker of `gasmcast classify` after every 100 files.

    python docs/experiments/archive_memory.py tiny.gasm clips --files 2000

The files are links to the clips of a folder, over and over. Memory is the resident size from /proc,
read five times a second.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gasmcast.archive.input_list import list_inputs

STEP = 100


def resident_mb(pid: int | str) -> float:
    """Return the resident size of a process in megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def worker_of(pid: int) -> str:
    """Return the process id of the worker; empty while there is none."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            return child
    return ""


def main() -> None:
    """Label the files and print a line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name, "in"), Path(name, "out")
        folder.mkdir()
        clips = itertools.cycle(list_inputs([options.videos]))
        for number, clip in zip(range(options.files), clips, strict=False):
            (folder / f"{number:05d}{Path(clip).suffix}").symlink_to(clip)

        words = ["classify", str(folder), "--bundle", str(options.bundle), "--out", str(out)]
        run = subprocess.Popen([sys.executable, "-m", "gasmcast", *words, "--workers", "1"])
        peak, done = 0.0, 0
        while run.poll() is None:
            time.sleep(0.2)
            worker = worker_of(run.pid)
            if not worker:
                continue
            peak = max(peak, resident_mb(worker))
            if len(list(out.glob("records/*/*.parquet"))) >= done + STEP:
                done += STEP
                main_mb = resident_mb(run.pid)
                print(f"{done} files: worker at most {peak:.0f} MB, main process {main_mb:.0f} MB")
                peak = 0.0


if __name__ == "__main__":
    main()
