"""Measure what the web view costs: the decisions per second of a run with and without viewers.

    python docs/experiments/web_cost.py demo/demo.gasm --rounds 5

Four files are recognized as fast as the machine can, in turn without the web view, with it and
nobody watching, and with four tiles and the messages read to the end. Files wait for the engine and
nothing of them is dropped, so the decisions are the same in every run and only their rate differs.

The viewer is a process that reads raw bytes from five connections, as the network card of another
machine would take them. Its processor time is printed: it is not part of what the web view costs,
but on this machine it is taken from the same cores, so the cost is overstated by at most as much.
"""

from __future__ import annotations

import argparse
import json
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
from typing import Any

import cv2

from gasmcast.runtime.sources.demo import DemoSource

VARIANTS = ("off", "nobody", "four tiles")
CAMERAS = ("one", "two", "three", "four")


def main() -> None:
    """Run all variants in turn and print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the clip")
    parser.add_argument("--size", default="1280x720", help="of the clip, in pixels")
    options = parser.parse_args()

    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    tile_fps: list[float] = []
    viewer_share: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        width, height = map(int, options.size.split("x"))
        write_inputs(folder, (width, height), options.seconds)
        for turn in range(options.rounds):
            # Each round begins with another variant, so that a drift of the machine hits all.
            for variant in VARIANTS[turn % 3 :] + VARIANTS[: turn % 3]:
                rate, seen = run(options.bundle, folder, variant)
                rates[variant].append(rate)
                if seen:
                    tile_fps.append(seen["pictures_per_s"] / len(CAMERAS))
                    viewer_share.append(seen["cores"])
                print(f"{variant}: {rate:.1f} decisions per second", flush=True)

    for variant in VARIANTS:
        ratios = sorted(
            rate / base - 1 for rate, base in zip(rates[variant], rates["off"], strict=True)
        )
        print(
            f"{variant}: median {statistics.median(rates[variant]):.1f} decisions per second, "
            f"paired difference {statistics.median(ratios):+.1%} "
            f"({ratios[0]:+.1%} to {ratios[-1]:+.1%})"
        )
    print(
        f"pictures per second and tile: {statistics.median(tile_fps):.1f}; "
        f"the viewer takes {statistics.median(viewer_share):.1%} of a core"
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


def run(bundle: Path, folder: Path, variant: str) -> tuple[float, dict[str, float]]:
    """Return the decisions per second of one run, and what its viewer saw."""
    records, log = folder / "out.jsonl", folder / "log"
    records.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gasmcast", "live", f"@{folder / 'cameras.yaml'}"]
    command += ["--bundle", str(bundle), "--jsonl", str(records)]
    if variant != "off":
        command += ["--web", "127.0.0.1:0"]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)

    seen: dict[str, float] = {}
    if variant == "four tiles":
        while not (found := re.search(r"web view: http://\S+:(\d+)/", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        ours, theirs = multiprocessing.Pipe()
        viewer = multiprocessing.Process(target=view, args=(int(found[1]), theirs))
        viewer.start()
        theirs.close()
        seen = ours.recv()
        viewer.join()
    assert process.wait() == 0, log.read_text()
    times = [
        datetime.fromisoformat(record["ts"].replace("Z", "+00:00")).timestamp()
        for record in map(json.loads, records.open())
        if record["kind"] == "decision"
    ]
    return (len(times) - 1) / (max(times) - min(times)), seen


def view(port: int, answer: Any) -> None:  # noqa: ANN401 - a connection of multiprocessing
    """Read four tiles and the messages to the end of the run; send pictures per second and cost."""
    paths = ["/messages", *(f"/cameras/{name}/stream" for name in CAMERAS)]
    ready = selectors.DefaultSelector()
    for path in paths:
        ready.register(connect(port, path), selectors.EVENT_READ)

    # A picture is counted by its header; nothing is decoded.
    buffer = bytearray(1 << 20)
    started, ended, pictures = time.monotonic(), 0.0, 0
    while ready.get_map():
        for key, _ in ready.select():
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
    seconds = ended - started
    cores = (usage.ru_utime + usage.ru_stime) / seconds
    answer.send({"pictures_per_s": pictures / seconds, "cores": cores})


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
