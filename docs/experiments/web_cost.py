"""Measure what the web view costs a run with four cameras.

    python docs/experiments/web_cost.py demo/demo.gasm --rounds 4
    python docs/experiments/web_cost.py demo/demo.gasm --realtime

Without `--realtime` four files are recognized as fast as the machine can, in turn without the web
view, with it and nobody watching, and with four tiles and the messages read to the end. Files wait
for the engine and nothing of them is dropped, so the decisions are the same in every run and only
their rate differs.

With it they run at 30 pictures per second in one run, so that a tile gets its 15, and viewers come
for five seconds and go for five. Two such blocks are seconds apart in one process, so their
processor time differs less by chance than the rates of two runs.

The viewer is a process that reads raw bytes from five connections, as the network card of another
machine would take them. Its processor time is printed: it is not part of what the web view costs,
but on this machine it is taken from the same cores, so the cost in rate is overstated by at most as
much.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from gasmcast.runtime.sources.demo import DemoSource

VARIANTS = ("off", "nobody", "four tiles")
CAMERAS = ("one", "two", "three", "four")
BLOCK_S = 5.0


class Seen(NamedTuple):
    """Figures of a viewer of four tiles."""

    tile_fps: float
    cores: float
    """Processor seconds per second."""


class Run:
    """A process of `gasmcast live` on four files."""

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        self.records, self.log = folder / "out.jsonl", folder / "log"
        self.records.unlink(missing_ok=True)
        command = [sys.executable, "-m", "gasmcast", "live", f"@{folder / 'cameras.yaml'}"]
        command += ["--bundle", str(bundle), "--jsonl", str(self.records), *options]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    @property
    def ended(self) -> bool:
        """True after the last decision; a run that failed ends the measurement."""
        assert not self.process.poll(), self.log.read_text()
        return self.process.poll() is not None

    def port(self) -> int:
        """Wait for the web view and return its port."""
        while not (found := re.search(r"web view: http://\S+:(\d+)/", self.log.read_text())):
            assert not self.ended
            time.sleep(0.05)
        return int(found[1])

    def decision_times(self) -> list[float]:
        """Return the times of all decisions so far, in seconds since 1970."""
        lines = self.records.read_text().splitlines() if self.records.is_file() else []
        return [
            datetime.fromisoformat(record["ts"].replace("Z", "+00:00")).timestamp()
            for record in map(json.loads, lines[:-1])
            if record["kind"] == "decision"
        ]

    def processor_s(self) -> float:
        """Return the processor time that was used so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the clip")
    parser.add_argument("--size", default="1280x720", help="of the clip, in pixels")
    parser.add_argument("--realtime", action="store_true", help="play files at their own pace")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        width, height = map(int, options.size.split("x"))
        write_inputs(folder, (width, height), options.seconds)
        if options.realtime:
            seen = alternate(options.bundle, folder)
        else:
            seen = take_turns(options.bundle, folder, options.rounds)

    print(
        f"pictures per second and tile: {statistics.median(one.tile_fps for one in seen):.1f}; "
        f"the viewer takes {statistics.median(one.cores for one in seen):.1%} of a core"
    )


def write_inputs(folder: Path, size: tuple[int, int], seconds: float) -> None:
    """Write a clip of the moving scene, and a camera list that names it four times."""
    clip = folder / "clip.mp4"
    scene = DemoSource("scene", size=size, seconds=seconds, sleep=lambda _: None)
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 30.0, size)
    for frame in scene.frames():
        writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    writer.release()
    listed = [{"name": name, "source": str(clip)} for name in CAMERAS]
    (folder / "cameras.yaml").write_text(json.dumps({"cameras": listed}))


def take_turns(bundle: Path, folder: Path, rounds: int) -> list[Seen]:
    """Compare the rates of runs with and without the web view."""
    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    seen = []
    for turn in range(rounds):
        # Each round begins with another variant, so that a drift of the machine hits all.
        for variant in VARIANTS[turn % 3 :] + VARIANTS[: turn % 3]:
            run = Run(bundle, folder, *([] if variant == "off" else ["--web", "127.0.0.1:0"]))
            if variant == "four tiles":
                seen.append(watch(run.port(), math.inf))
            run.process.wait()
            assert run.ended
            times = run.decision_times()
            rates[variant].append((len(times) - 1) / (max(times) - min(times)))
            print(f"{variant}: {rates[variant][-1]:.1f} decisions per second", flush=True)

    for variant in VARIANTS:
        ratios = sorted(
            rate / base - 1 for rate, base in zip(rates[variant], rates["off"], strict=True)
        )
        print(
            f"{variant}: median {statistics.median(rates[variant]):.1f} decisions per second, "
            f"paired difference {statistics.median(ratios):+.1%} "
            f"({ratios[0]:+.1%} to {ratios[-1]:+.1%})"
        )
    return seen


def alternate(bundle: Path, folder: Path) -> list[Seen]:
    """Compare blocks with and without viewers in one run at the pace of cameras."""
    run = Run(bundle, folder, "--realtime", "--web", "127.0.0.1:0")
    port = run.port()
    while not run.decision_times():
        assert not run.ended
        time.sleep(0.1)
    time.sleep(BLOCK_S)

    seen: list[Seen] = []
    watched: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    while not run.ended:
        for blocks in (watched, alone):
            began, used_s, count = time.monotonic(), run.processor_s(), len(run.decision_times())
            if blocks is watched:
                found = watch(port, BLOCK_S)
            else:
                time.sleep(BLOCK_S)
            if run.ended:
                break
            seconds = time.monotonic() - began
            rate = (len(run.decision_times()) - count) / seconds
            blocks.append((rate, (run.processor_s() - used_s) / seconds))
            if blocks is watched:
                seen.append(found)

    for name, blocks in (("four tiles", watched), ("nobody", alone)):
        rate, cores = (statistics.mean(values) for values in zip(*blocks, strict=True))
        print(f"{name}: {rate:.2f} decisions per second, {cores:.3f} cores")
    differences = [one[1] - other[1] for one, other in zip(watched, alone, strict=False)]
    shares = [difference / (os.cpu_count() or 1) for difference in differences]
    error = statistics.stdev(shares) / math.sqrt(len(shares))
    print(
        f"four tiles take {statistics.mean(shares):.1%} of the machine "
        f"(standard error {error:.1%}, {len(shares)} pairs of blocks)"
    )
    return seen


def watch(port: int, seconds: float) -> Seen:
    """Read four tiles and the messages for some time, or to the end of the run."""
    ours, theirs = multiprocessing.Pipe()
    viewer = multiprocessing.Process(target=read_streams, args=(port, seconds, theirs))
    viewer.start()
    theirs.close()
    seen = ours.recv()
    viewer.join()
    return seen


def read_streams(port: int, seconds: float, answer: Any) -> None:  # noqa: ANN401 - a connection
    """Read bytes and send what was seen. A picture is counted by its header; none is decoded."""
    paths = ["/messages", *(f"/cameras/{name}/stream" for name in CAMERAS)]
    ready = selectors.DefaultSelector()
    for path in paths:
        ready.register(connect(port, path), selectors.EVENT_READ)

    buffer = bytearray(1 << 20)
    started, ended, pictures = time.monotonic(), 0.0, 0
    while ready.get_map() and time.monotonic() < started + seconds:
        for key, _ in ready.select(0.1):
            stream: Any = key.fileobj
            try:
                count = stream.recv_into(buffer)
            except ConnectionError:
                count = 0
            if count == 0:
                ready.unregister(stream)
                continue
            found = buffer.count(b"Content-Length", 0, count)
            pictures += found
            if found:
                ended = time.monotonic()
        time.sleep(0.02)  # as a network card, many packets at once

    usage = resource.getrusage(resource.RUSAGE_SELF)
    took_s = ended - started
    cores = (usage.ru_utime + usage.ru_stime) / took_s
    answer.send(Seen(pictures / took_s / len(CAMERAS), cores))


def connect(port: int, path: str) -> socket.socket:
    """Return a connection that streams; a camera is known only once the run has begun."""
    while True:
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if b" 200 " in stream.recv(64):
            return stream
        stream.close()
        time.sleep(0.02)


if __name__ == "__main__":
    main()
