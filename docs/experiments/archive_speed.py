"""Compare the throughput of `gasmcast classify` with that of its encoder alone.

    gasmcast export lite --random-weights --out lite.gasm
    python docs/experiments/archive_speed.py lite.gasm clips --files 8 --rounds 5

First the segments of the files are collected. Then the two take turns, in one process, with all
cores: the encoder alone on these segments in memory, one after another, and a `VideoLabeler` on the
files, two at once, which also decodes, runs the head, decides and writes Parquet. Starting a worker
is not part of it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from gasmcast.archive.input_list import list_inputs
from gasmcast.archive.parquet import RecordFile
from gasmcast.archive.video_labeler import VideoLabeler
from gasmcast.archive.worker_plan import available_cores
from gasmcast.runtime.engines import Engine
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import Model, open_model


class Recorder:
    """Engine that keeps its inputs and returns those of the real one's outputs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.feeds: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the engine has
        return getattr(self.engine, name)

    def run(self, feeds: dict[str, Any]) -> Any:  # noqa: ANN401 - as the engine's
        """Run the engine and keep the feeds."""
        self.feeds.append({name: value.copy() for name, value in feeds.items()})
        return self.engine.run(feeds)


def label(model: Model, videos: list[str], folder: Path) -> None:
    """Label videos as a worker does, two at once."""
    labeler = VideoLabeler(model, LiveConfig().model_copy(update={"batch": 1}))

    def one(numbered: tuple[int, str]) -> None:
        number, video = numbered
        with RecordFile(folder / f"{number}.parquet", video, {}) as records:
            labeler.label(video, records.add)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, enumerate(videos)))
    labeler.close()


def main() -> None:
    """Print a line per turn, and the medians of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    model, description = open_model(options.bundle, threads=available_cores())
    videos = list(itertools.islice(list_inputs([options.videos]), options.files))
    recorder = Recorder(model.encoder)
    wall_shares, cpu_shares = [], []
    with tempfile.TemporaryDirectory() as folder:
        label(replace(model, encoder=recorder), videos, Path(folder))
        count = len(recorder.feeds)
        print(f"{description}\n{len(videos)} files, {count} segments")
        for _ in range(options.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            for feeds in recorder.feeds:
                model.encoder.run(feeds)
            alone_s, alone_cpu_s = time.perf_counter() - wall, time.process_time() - cpu

            wall, cpu = time.perf_counter(), time.process_time()
            label(model, videos, Path(folder))
            files_s, files_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
            wall_shares.append(alone_s / files_s)
            cpu_shares.append(alone_cpu_s / files_cpu_s)
            print(
                f"encoder {count / alone_s:.2f} segments/s, {1000 * alone_cpu_s / count:.0f} ms "
                f"of processor time each; labeling {count / files_s:.2f} segments/s, "
                f"{1000 * files_cpu_s / count:.0f} ms: {wall_shares[-1]:.1%}",
                flush=True,
            )
    print(
        f"medians: {statistics.median(wall_shares):.1%} of the encoder's throughput, "
        f"{statistics.median(cpu_shares):.1%} in processor time"
    )


if __name__ == "__main__":
    main()
