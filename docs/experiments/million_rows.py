"""Time the index of a CSV of a million annotated spans in 10,000 videos.

Call it with a folder: `python docs/experiments/million_rows.py FOLDER`.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from gasmcast.data.reading import open_index

VIDEOS, SPANS, CLASSES = 10_000, 100, 174


def main() -> None:
    """Write the table unless it exists, read it and print the time."""
    folder = Path(sys.argv[1])
    table = folder / "clips.csv"
    if not table.exists():
        write(folder, table)
    wall, processor = time.perf_counter(), time.process_time()
    index = open_index(table)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{len(index):,} clips: {wall:.1f} s, {processor:.1f} s of processor time")


def write(folder: Path, table: Path) -> None:
    """Write the table, and files that only have the names of videos."""
    (folder / "videos").mkdir(parents=True)
    for number in range(VIDEOS):
        (folder / "videos" / f"{number}.mp4").touch()
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "label", "start", "end", "split", "source"])
        for span in range(SPANS):
            for number in range(VIDEOS):
                label = f"class {(span * VIDEOS + number) % CLASSES}"
                split = "train" if number % 5 else "validation"
                times = (10.0 * span, 10.0 * span + 8)
                rows.writerow([f"videos/{number}.mp4", label, *times, split, f"source {number}"])


if __name__ == "__main__":
    main()
