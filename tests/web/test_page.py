"""The web view of a run in a real browser: Debian's Chromium with its fake camera."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from gasmcast.runtime.records import Event
from gasmcast.runtime.web.event_store import EventStore

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(300),
]
CAMERAS = ("front", "yard")
PAST_EVENTS = 230  # more than two answers of the server hold
# Of the tiny bundle one class is always near 0.955: it begins and ends often there.
SETTINGS = {"on": 0.955, "off": 0.954, "min_s": 0.0, "smooth_s": 0.0, "refractory_s": 0.0}


class Live:
    """A run of `gasmcast live --web` as a process."""

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        *options: str,
        address: str = "127.0.0.1:0",
        gate: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        cameras = [{"source": "demo:", "name": name, "settings": SETTINGS} for name in CAMERAS]
        cameras += [{"source": gate, "name": "gate"}] if gate else []
        (folder / "cameras.yaml").write_text(yaml.safe_dump({"cameras": cameras}))
        command = [sys.executable, "-m", "gasmcast", "live", f"@{folder / 'cameras.yaml'}"]
        command += ["--bundle", str(bundle), "--web", address, *options]
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=environment
            )
        found = wait_for(lambda: re.search(r"web view: http://\S+?:(\d+)/", self.text))
        self.url = f"http://127.0.0.1:{found[1]}/"

    @property
    def text(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()


@pytest.fixture
def runs() -> Iterator[list[Live]]:
    """Runs that end with their test, also if it fails."""
    started: list[Live] = []
    yield started
    for run in started:
        run.process.kill()
        run.process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> object:
    """Return what a condition returns once it is true; the page's policy forbids to ask there."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


class Gate:
    """HTTP camera that can be switched off: its connections end and new ones are refused."""

    def __init__(self) -> None:
        self.on = True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not outer.on:
                    return self.send_error(503)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
                self.end_headers()
                with suppress(OSError):
                    while outer.on:
                        time.sleep(0.1)
                        gray = int(time.monotonic() * 50) % 256
                        picture = np.full((48, 64, 3), gray, np.uint8)
                        data = cv2.imencode(".jpg", picture)[1].tobytes()
                        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(f"--edge\r\n{head}".encode() + data + b"\r\n")
                return None

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/video"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.on = False
        self.server.shutdown()
        self.server.server_close()


def fill_store(file: Path) -> None:
    """Store events of an hour ago, as an earlier run left them."""
    store = EventStore(file, 7200)
    began = time.time() - 3600
    for number in range(PAST_EVENTS):
        event = Event(
            camera="past", time_s=2.0 * number, wall_s=began + 2.0 * number, phase="end",
            label="Holding something", label_id=2, p=0.9, onset_s=2.0 * number,
            detected_s=2.0 * number, duration_s=1.0, report_delay_s=0.0, number=number,
        )  # fmt: skip
        store.write(event)
    store.close()


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    camera = Gate()
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def live(tiny_bundle: Path, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("web")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fill_store(folder / "gasmcast" / f"events-{port}.sqlite")
    options = ("--keep", "2h", "--allow-browser-cameras")
    run = Live(tiny_bundle, folder, *options, address=f"127.0.0.1:{port}", gate=gate.url)
    yield run
    run.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Chromium, whose fake camera shows a red clip."""
    clip = tmp_path_factory.mktemp("camera") / "red.mjpeg"
    reds = [np.full((240, 320, 3), (10, 20, 120 + 3 * k), np.uint8) for k in range(30)]
    clip.write_bytes(b"".join(cv2.imencode(".jpg", red)[1].tobytes() for red in reds))
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={clip}",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, live: Live) -> Iterator[object]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(live.url)
    yield opened
    opened.close()
    assert problems == []


def has_picture(page, camera: str) -> bool:
    script = f"document.querySelector('img[alt=\"Picture of {camera}\"]')?.naturalWidth > 0"
    return bool(page.evaluate(script))


def test_tiles_show_pictures_and_decisions_soon(page) -> None:
    for camera in CAMERAS:
        wait_for(lambda camera=camera: has_picture(page, camera), 10)
    first = wait_for(lambda: page.evaluate("document.querySelector('.tile')?.dataset.time"), 10)
    wait_for(lambda: page.evaluate("document.querySelector('.tile').dataset.time") != first, 10)
    assert page.locator(".bars li").count() >= 4
    wait_for(lambda: "engine busy" in page.locator("#facts").inner_text())


def test_pictures_move(page) -> None:
    wait_for(lambda: has_picture(page, "front"), 10)
    seen = set()
    for _ in range(10):
        seen.add(page.locator(".picture").first.screenshot())
        time.sleep(0.4)
    assert len(seen) > 2


def test_the_timeline_fills_and_an_event_opens_with_its_pictures(page) -> None:
    seen = page.locator("#events li", has_text=re.compile("front|yard"))
    wait_for(lambda: seen.count() >= 2, 90)
    ended = seen.filter(has_not_text="now").first
    wait_for(lambda: ended.count() > 0, 60)
    ended.locator("button").click()
    wait_for(lambda: page.locator("#event-pictures img").count() > 1, 10)
    assert page.locator("#event-curve svg").count() == 1

    # The pictures are played at their own pace, and it ends by itself.
    shown = page.locator("#event-replay img")
    first = shown.get_attribute("src")
    page.locator("#event-replay button").click()
    wait_for(lambda: shown.get_attribute("src") != first, 10)
    wait_for(lambda: page.locator("#event-replay button").inner_text() == "Play", 20)
    count = page.locator("#event-pictures img").count()
    assert shown.get_attribute("src").endswith(f"/{count - 1}.jpg")
    page.keyboard.press("Escape")
    assert not page.locator("#event").is_visible()


def test_events_are_filtered_by_camera(page) -> None:
    wait_for(lambda: page.locator("#events li", has_text="front").count() > 0, 90)
    page.select_option("#filter-camera", "yard")
    wait_for(lambda: page.locator("#events li", has_text="front").count() == 0, 10)


def test_older_events_come_when_the_list_is_scrolled(page) -> None:
    past = page.locator("#events li", has_text="past ")
    wait_for(lambda: past.count() > 0, 10)
    before = past.count()
    assert before < PAST_EVENTS
    for _ in range(2):
        page.locator("#events").evaluate("list => list.scrollTo(0, list.scrollHeight)")
        wait_for(lambda before=before: past.count() > before, 10)
        before = past.count()
    wait_for(lambda: past.count() == PAST_EVENTS, 10)
    assert not page.locator("#older").is_visible()


def test_a_camera_dies_and_comes_back(page, gate: Gate) -> None:
    tile = page.locator(".tile", has_text="gate")
    state = tile.locator(".state")
    wait_for(lambda: state.count() > 0 and state.inner_text() == "live", 20)
    wait_for(lambda: has_picture(page, "gate"), 10)
    gate.on = False
    wait_for(lambda: "bad" in state.get_attribute("class"), 30)
    assert state.inner_text() != "live"
    gate.on = True
    wait_for(lambda: state.inner_text() == "live", 60)
    assert "bad" not in state.get_attribute("class")
    first = tile.locator(".picture").screenshot()
    wait_for(lambda: tile.locator(".picture").screenshot() != first, 10)


def test_this_device_becomes_a_camera_and_gets_decisions(page) -> None:
    button = page.locator("#be-camera")
    wait_for(button.is_visible, 10)
    button.click()
    tile = page.locator(".tile", has_text="browser-")
    wait_for(lambda: tile.locator(".bars li").count() > 0, 60)

    # It is the clip that the runtime sees.
    name = tile.locator(".name").inner_text()
    answer = page.request.get(f"{page.url}cameras/{name}/snapshot.jpg")
    picture = cv2.imdecode(np.frombuffer(answer.body(), np.uint8), cv2.IMREAD_COLOR)
    blue, green, red = picture.mean((0, 1))
    assert red > 90 > max(blue, green)
    button.click()
    wait_for(lambda: tile.count() == 0, 60)


def test_a_phone_can_use_it(browser, live: Live) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone.goto(live.url)
    # Only the tile that is on the screen asks for pictures.
    wait_for(lambda: any(has_picture(phone, camera) for camera in CAMERAS), 10)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"

    # What a finger has to hit is large enough, and an event fits on the screen.
    heights = """[...document.querySelectorAll("button, select")]
        .filter(control => control.checkVisibility())
        .map(control => control.getBoundingClientRect().height)"""
    assert min(phone.evaluate(heights)) >= 40
    wait_for(lambda: phone.locator("#events li").count() > 0, 60)
    phone.locator("#events li button").first.click()
    wait_for(phone.locator("#event").is_visible, 10)
    box = phone.locator("#event").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= 390
    phone.close()


def test_attention_is_drawn_over_the_picture(
    browser, attention_folder: Path, tmp_path: Path, runs: list[Live]
) -> None:
    run = Live(attention_folder, tmp_path)
    runs.append(run)
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto(run.url)
    tile = page.locator(".tile", has_text="front")
    wait_for(lambda: has_picture(page, "front"), 20)
    canvas = tile.locator("canvas")
    assert not canvas.is_visible()

    tile.locator(".attention button").click()
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text(), 30)
    wait_for(lambda: painted(canvas) > 0.05, 10)

    # A click chooses a patch; another map is drawn.
    canvas.click()
    wait_for(lambda: tile.locator(".attention select").input_value() == "patch", 5)
    wait_for(lambda: painted(canvas) > 0, 10)
    tile.locator(".attention button").click()
    assert not canvas.is_visible()
    page.close()
    run.stop()
    assert problems == []


def painted(canvas) -> float:
    """Return the share of a canvas that is not transparent, read from a copy made for reading."""
    script = """canvas => {
        if (!canvas.width || !canvas.height) return 0;
        const copy = document.createElement("canvas");
        copy.width = canvas.width;
        copy.height = canvas.height;
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const drawn = data.filter((value, index) => index % 4 === 3 && value > 20);
        return drawn.length * 4 / data.length;
    }"""
    return float(canvas.evaluate(script))


def test_nothing_serious_for_axe(page) -> None:
    """axe-core's rules (WCAG); it is injected by the debugger, past the policy of the page."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    wait_for(lambda: has_picture(page, "front"), 10)
    page.evaluate(f"(() => {{ {script} }})()")
    found = page.evaluate("axe.run()")["violations"]
    serious = [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")]
    assert serious == []


def test_another_machine_logs_in(
    browser, tiny_bundle: Path, tmp_path: Path, runs: list[Live]
) -> None:
    run = Live(tiny_bundle, tmp_path, "--quiet", address="0.0.0.0:0")  # the token is shown anyway
    runs.append(run)
    token = re.search(r"token \(shown once\): (\S+)", run.text)
    assert token is not None
    opened = browser.new_page()
    opened.goto(run.url)
    opened.fill("#token", "wrong")
    opened.click("button")
    wait_for(lambda: "Wrong token" in opened.locator("#answer").inner_text(), 10)
    opened.fill("#token", token[1])
    with opened.expect_navigation():
        opened.click("button")
    wait_for(lambda: has_picture(opened, "front"), 20)
    opened.close()
    run.stop()
