"""Make the pictures of the web view and of a report from a finished demo, in a real browser.

    make pictures

Needs Playwright and Chromium. The pictures are JPEG files beside this script.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1280, 800
# Of a recognizer of the demo's size; its synthetic scene changes the action every few seconds.
CAMERAS = {"door": "demo:3", "workbench": "demo:8"}


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `gasmcast demo`")
    demo = parser.parse_args().demo

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as engine:
        folder = Path(scratch)
        bundle = folder / "demo.gasm"
        gasmcast("export", str(demo / "run"), "--out", str(bundle), "--attention", "--no-measure")
        explain = folder / "explain"
        clip = next((demo / "data/videos").iterdir())
        gasmcast("explain", str(clip), "--bundle", str(bundle), "--out", str(explain))

        chromium = engine.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        with live(bundle, folder) as url:
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(url)
            take_live(page)
        for name, file in (
            ("report", demo / "report.html"),
            ("explain", next(explain.glob("*.html"))),
        ):
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            take_page(page, file, name)
        chromium.close()


def take_live(page: Page) -> None:
    """Take the page with events, one event, and attention over a tile."""
    wait_for(lambda: page.locator("#events li").count() >= 5)
    wait_for(lambda: page.locator("#events .when", has_text=" s ·").count() >= 3)
    shoot(page, "web_live")

    # An event is stored with its pictures once it has ended.
    page.locator("#events li", has_text=" s ·").first.locator("button").click()
    wait_for(lambda: page.locator("#event-pictures img").count() > 1)
    time.sleep(1.0)
    shoot(page, "web_event")
    page.locator("#event form button").click()

    tile = page.locator(".tile").first
    tile.locator(".attention button").click()
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text())
    time.sleep(2.0)
    tile.screenshot(path=HERE / "web_attention.jpg", type="jpeg", quality=85)


def take_page(page: Page, file: Path, name: str) -> None:
    """Take the first screen of a page."""
    page.goto(file.resolve().as_uri())
    page.wait_for_load_state()
    shoot(page, name)


def shoot(page: Page, name: str) -> None:
    """Write what the page shows."""
    page.screenshot(path=HERE / f"{name}.jpg", type="jpeg", quality=80)
    print(f"docs/pictures/{name}.jpg")


def gasmcast(*words: str) -> None:
    """Run a verb to its end."""
    subprocess.run(
        [sys.executable, "-m", "gasmcast", *words], check=True, stdout=subprocess.DEVNULL
    )


@contextmanager
def live(bundle: Path, folder: Path) -> Iterator[str]:
    """Yield the address of the web view of a run."""
    cameras = [{"name": name, "source": source} for name, source in CAMERAS.items()]
    listed = folder / "cameras.yaml"
    listed.write_text(json.dumps({"cameras": cameras}))
    log = folder / "log"
    command = [sys.executable, "-m", "gasmcast", "live", f"@{listed}", "--bundle", str(bundle)]
    command += ["--web", "127.0.0.1:0", "--keep", "1h"]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        found: Any = wait_for(lambda: re.search(r"web view: (http://\S+)", log.read_text()))
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_for(condition: Callable[[], Any], seconds: float = 180.0) -> Any:  # noqa: ANN401
    """Return what a condition returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("The page did not show what the picture needs.")
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    main()
