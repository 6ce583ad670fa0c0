"""Measure the processor time of the parts of the web view: a picture, a frame, a record.

    python docs/experiments/web_parts.py

Thread time, so that it holds on a machine that does other work, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import cv2
import numpy as np

from gasmcast.runtime.records import Decision
from gasmcast.runtime.web.event_store import jpeg
from gasmcast.runtime.web.feed import WebFeed


def main() -> None:
    """Print one line per part."""
    cv2.setNumThreads(1)  # thread time must not miss the work of others
    # A smooth picture with some noise, as of a camera; white noise would cost more.
    rows = np.linspace(0, 255, 720)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 6, (720, 1280, 3))
    image = np.clip(rows + noise, 0, 255).astype(np.uint8)
    small = np.ascontiguousarray(image[:480, :640])
    decision = Decision(
        camera="door",
        time_s=4.0,
        wall_s=1e9,
        window=(0.0, 4.0),
        label="Waving",
        label_id=0,
        p=0.8,
        best="Waving",
        best_p=0.8,
        top=(("Waving", 0.8), ("Sitting", 0.1), ("Standing", 0.05), ("Lying", 0.03)),
    )

    feed = WebFeed()
    per_second = 4 * 15
    for name, picture in (("1280 x 720", image), ("640 x 480", small)):
        encode_ms = cost_ms(lambda picture=picture: jpeg(picture, 640, 70), 100)
        share = encode_ms * per_second / 1000
        print(f"JPEG of {name}: {encode_ms:.2f} ms; four tiles at 15 fps: {share:.1%} of a core")
    print(f"frame, nobody watches: {1000 * cost_ms(lambda: feed.frame('door', 0.0, image)):.1f} us")
    print(f"record, nobody watches: {1000 * cost_ms(lambda: feed.write(decision)):.1f} us")
    asyncio.run(watched(feed, decision))


async def watched(feed: WebFeed, decision: Decision) -> None:
    """Print the cost of a record while one page is open."""
    with feed.subscribe():
        print(f"record, one page: {1000 * cost_ms(lambda: feed.write(decision)):.1f} us")


def cost_ms(work: Callable[[], object], times: int = 2000) -> float:
    """Return the median thread time of five rounds, per call, in ms."""
    rounds = []
    for _ in range(5):
        started = time.thread_time()
        for _ in range(times):
            work()
        rounds.append(1000 * (time.thread_time() - started) / times)
    return sorted(rounds)[2]


if __name__ == "__main__":
    main()
