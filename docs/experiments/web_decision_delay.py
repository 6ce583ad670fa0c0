"""Measure how soon a decision stands on the page of the web view.

    python docs/experiments/web_decision_delay.py demo/demo.gasm

Starts `gasmcast live` with one synthetic camera and opens the page in Chromium. The delay of a
decision is the time from `ts`, at which the runtime made it, to the frame in which the browser has
drawn it; both clocks are this machine's. Needs Playwright and Chromium.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

PORT, SECONDS = 8437, 60
WATCH = """
() => {
  window.drawn = [];
  const tile = document.querySelector(".tile");
  const seen = () => {
    const time = Number(tile.dataset.time);
    requestAnimationFrame(() => window.drawn.push([time, Date.now() / 1000]));
  };
  new MutationObserver(seen).observe(tile, {attributes: true, attributeFilter: ["data-time"]});
}
"""


def main() -> None:
    """Print the median and the 95th percentile of the delay."""
    with tempfile.TemporaryDirectory() as name:
        records = Path(name) / "records.jsonl"
        live = subprocess.Popen(
            [
                *(sys.executable, "-m", "gasmcast", "live", "demo:1", "--bundle", sys.argv[1]),
                *("--web", f"127.0.0.1:{PORT}", "--jsonl", str(records), "--quiet"),
                *("--duration", str(SECONDS)),
            ]
        )
        drawn_s = watch()
        live.wait()
        made_s = {
            record["time_s"]: datetime.fromisoformat(
                record["ts"].replace("Z", "+00:00")
            ).timestamp()
            for record in map(json.loads, records.read_text().splitlines())
            if record["kind"] == "decision"
        }

    # Decisions that were made before the page was there have no time on it.
    delays_ms = [1000 * (drawn - made_s[time_s]) for time_s, drawn in drawn_s]
    median, late = np.percentile(delays_ms, [50, 95])
    print(f"{len(delays_ms)} decisions: median {median:.0f} ms, 95 % within {late:.0f} ms")


def watch() -> list[tuple[float, float]]:
    """Return the video time of each decision, and the time at which it was drawn."""
    with sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        while True:
            try:
                page.goto(f"http://127.0.0.1:{PORT}/")
                break
            except Exception:  # noqa: BLE001 - the bundle is still being compiled
                page.wait_for_timeout(500)
        page.wait_for_selector(".tile[data-time]")
        page.evaluate(WATCH)
        page.wait_for_timeout(1000 * (SECONDS - 25))
        drawn: list[tuple[float, float]] = page.evaluate("window.drawn")
        browser.close()
    return drawn


if __name__ == "__main__":
    main()
