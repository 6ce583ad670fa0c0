"""Measure how soon a browser shows the first picture of the web view, and how heavy the page is.

    gasmcast live demo:1 demo:2 demo:3 demo:4 --bundle demo/demo.gasm --web
    python docs/experiments/web_first_picture.py http://127.0.0.1:8420/

Needs Playwright and Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time

from playwright.sync_api import sync_playwright


def main() -> None:
    """Open the page ten times in fresh contexts and print the times and the weight."""
    url = sys.argv[1]
    first_s, weights = [], []
    with sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(10):
            page = browser.new_context().new_page()
            bodies: list[int] = []
            page.on("response", lambda answer, bodies=bodies: weigh(answer, bodies))
            started = time.monotonic()
            page.goto(url)
            script = "[...document.querySelectorAll('.tile img')].some((i) => i.naturalWidth > 0)"
            while not page.evaluate(script):
                time.sleep(0.01)
            first_s.append(time.monotonic() - started)
            weights.append(sum(bodies))
            page.context.close()
        browser.close()

    listed = ", ".join(f"{value:.2f}" for value in sorted(first_s))
    print(f"page to first picture: median {statistics.median(first_s):.2f} s ({listed})")
    print(f"page weight: {max(weights) / 1000:.1f} kB")


def weigh(answer: object, bodies: list[int]) -> None:
    """Add the size of an answer that belongs to the page; pictures and messages are data."""
    path = answer.url.partition("//")[2].partition("/")[2]  # type: ignore[attr-defined]
    if path == "" or path.startswith("static/"):
        length = answer.headers.get("content-length", "0")  # type: ignore[attr-defined]
        bodies.append(int(length))


if __name__ == "__main__":
    main()
