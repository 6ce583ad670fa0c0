"""The web view of a run in a real browser: Debian's Chromium with its fake camera."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from gasmcast.runtime.records import NO_ACTION, Decision, Event
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
        names: Sequence[str] = CAMERAS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        cameras = [{"source": "demo:", "name": name, "settings": SETTINGS} for name in names]
        cameras += [{"source": gate, "name": "gate"}] if gate else []
        (folder / "cameras.yaml").write_text(yaml.safe_dump({"cameras": cameras}))
        command = [sys.executable, "-m", "gasmcast", "live", "--bundle", str(bundle)]
        command += [f"@{folder / 'cameras.yaml'}"] if cameras else []
        command += ["--web", address, *options]
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
def start() -> Iterator[Callable[..., Live]]:
    """Start runs that end with their test, also if it fails."""
    started: list[Live] = []

    def start_one(*arguments: Any, **options: Any) -> Live:
        """Take the arguments of `Live`."""
        started.append(Live(*arguments, **options))
        return started[-1]

    yield start_one
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


def problems_of(page) -> list[str]:
    """Return a list to which the page's console and its errors are added."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"{message.text} {message.location}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


def serious(page) -> list[str]:
    """Return the rules of axe-core (WCAG) that the page breaks seriously.

    It is injected by the debugger, past the policy of the page.
    """
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    page.evaluate(f"(() => {{ {script} }})()")
    found = page.evaluate("axe.run()")["violations"]
    return [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")]


def past_event(key: str, **fields: object) -> dict[str, object]:
    """Return an event as the server lists it."""
    event = Event(
        camera="front", time_s=8.0, wall_s=1.7e9, phase="end", label="Waving", label_id=0, p=0.9,
        onset_s=4.0, detected_s=5.0, duration_s=3.0, report_delay_s=0.0, number=1,
    )  # fmt: skip
    return {**event.to_json(), "key": key, **fields}


@pytest.fixture
def page(browser, live: Live) -> Iterator[object]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    problems = problems_of(opened)
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


def test_tiles_have_the_order_of_the_run(page) -> None:
    names = page.locator("#cameras .name")
    wait_for(lambda: names.all_inner_texts() == [*CAMERAS, "gate"], 10)
    # Another order, as at the start of a run, when a camera was heard before the first one.
    page.locator("#cameras").evaluate("list => list.append(list.firstElementChild)")
    assert names.all_inner_texts() != [*CAMERAS, "gate"]
    wait_for(lambda: names.all_inner_texts() == [*CAMERAS, "gate"], 10)
    wait_for(lambda: has_picture(page, "front"), 10)


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
    # Events of the other camera stay, and nothing else.
    wait_for(lambda: page.locator("#events li", has_text="yard").count() > 0, 60)
    assert page.locator("#events li", has_not_text="yard").count() == 0


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


def test_a_browser_may_be_the_only_camera(
    browser, tiny_bundle: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    run = start(tiny_bundle, tmp_path, "--allow-browser-cameras", names=())
    page = browser.new_page()
    problems = problems_of(page)
    page.goto(run.url)
    assert page.locator("#empty").is_visible()
    for _ in range(2):  # it may leave and come back
        page.locator("#be-camera").click()
        tile = page.locator(".tile", has_text="browser-")
        wait_for(lambda tile=tile: tile.locator(".bars li").count() > 0, 60)
        page.locator("#be-camera").click()
        wait_for(page.locator("#empty").is_visible, 60)
    page.close()
    run.stop()
    assert problems == []


def test_a_phone_can_use_it(browser, live: Live) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    problems = problems_of(phone)
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
    assert serious(phone) == []
    wait_for(lambda: phone.locator("#events li").count() > 0, 60)
    phone.locator("#events li button", has_not_text="now").first.click()
    wait_for(phone.locator("#event").is_visible, 10)
    assert serious(phone) == []
    box = phone.locator("#event").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= 390
    phone.close()
    assert problems == []


def test_attention_is_drawn_over_the_picture(
    browser, attention_folder: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    run = start(attention_folder, tmp_path)
    page = browser.new_page()
    problems, asked = problems_of(page), attention_requests(page)
    page.goto(run.url)
    tile = page.locator(".tile", has_text="front")
    wait_for(lambda: has_picture(page, "front"), 20)
    canvas, maps = tile.locator("canvas"), tile.locator(".attention select").first
    assert not canvas.is_visible()

    tile.locator(".attention button").click()
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text(), 30)
    wait_for(lambda: painted(canvas) > 0.05, 10)
    assert serious(page) == []

    # The oldest segment has a map of its own: here the left half, where the others have the right.
    change_maps(page, draw_halves)
    maps.select_option("segments")
    time_of = tile.get_by_label("Time")
    wait_for(lambda: halves(canvas) == (False, True), 10)
    time_of.select_option(label="oldest")
    wait_for(lambda: halves(canvas) == (True, False), 10)
    page.unroute_all(behavior="wait")

    # A click chooses a patch; its map alone costs a run of the encoder.
    canvas.click()
    wait_for(lambda: maps.input_value() == "patch", 5)
    wait_for(lambda: painted(canvas) > 0 and "?patch=" in asked[-1], 20)
    maps.select_option("motion")
    wait_for(lambda: canvas.is_visible() and "?patch=" not in asked[-1], 20)
    tile.locator(".attention button").click()
    assert not canvas.is_visible()
    page.close()
    run.stop()
    assert problems == []


def test_a_patch_is_chosen_with_the_keyboard(
    browser, attention_folder: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    run = start(attention_folder, tmp_path)
    page = browser.new_page()
    problems, asked = problems_of(page), attention_requests(page)
    page.goto(run.url)
    tile = page.locator(".tile", has_text="front")
    wait_for(lambda: has_picture(page, "front"), 20)
    tile.locator(".attention button").click()
    wait_for(lambda: painted(tile.locator("canvas")) > 0.05, 30)
    tile.locator(".attention select").first.select_option("patch")
    wait_for(lambda: "Click a patch" in tile.locator(".cost").inner_text(), 10)

    patches = tile.get_by_role("slider", name="Patch of the picture")
    patches.focus()
    for key in ("ArrowUp", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert patches.get_attribute("aria-valuetext") == "row 2, column 2"
    page.keyboard.press("Enter")
    assert patches.get_attribute("aria-valuetext") == "row 2, column 2, chosen"
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text(), 20)
    patch = int(patches.get_attribute("aria-valuenow")) - 1
    assert asked[-1].endswith(f"?patch={patch}")
    page.close()
    run.stop()
    assert problems == []


def test_attention_is_asked_once_at_a_time_and_only_while_it_is_seen(
    browser, attention_folder: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    run = start(attention_folder, tmp_path, "--allow-browser-cameras")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    asked = attention_requests(page)
    page.goto(run.url)
    page.locator("#be-camera").click()
    tile = page.locator(".tile:last-child", has_text="browser-")
    wait_for(lambda: tile.locator(".bars li").count() > 0, 60)
    button = tile.locator(".attention button")
    button.click()
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text(), 30)

    def asked_in(milliseconds: int) -> int:
        before = len(asked)
        page.wait_for_timeout(milliseconds)
        return len(asked) - before

    # Off and on again at once: one loop, not three.
    for _ in range(4):
        button.click()
    page.wait_for_timeout(1000)
    assert 1 <= asked_in(3000) <= 7

    # What nobody sees is not asked for, and what is gone neither.
    page.evaluate("scrollTo(0, 0)")  # it is the last tile
    page.wait_for_timeout(1000)
    assert asked_in(1500) == 0
    button.scroll_into_view_if_needed()
    assert asked_in(2000) > 0
    page.locator("#be-camera").click()
    wait_for(lambda: tile.count() == 0, 60)
    assert asked_in(1500) == 0
    page.close()
    run.stop()


def test_maps_that_the_model_lacks_are_not_offered(
    browser, attention_folder: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    run = start(attention_folder, tmp_path)
    page = browser.new_page()
    change_maps(page, remove_exchange)
    page.goto(run.url)
    tile = page.locator(".tile", has_text="front")
    tile.locator(".attention button").click()
    wait_for(lambda: "ms per map" in tile.locator(".cost").inner_text(), 30)
    lacking = "options => options.filter(option => option.disabled).map(option => option.value)"
    options = tile.locator(".attention select").first.locator("option")
    assert options.evaluate_all(lacking) == ["segments", "heard"]
    page.close()
    run.stop()


def change_maps(page, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the maps that the server answers with, before the page gets them."""

    def answer(route) -> None:
        response = route.fetch()
        if not response.ok:
            route.fulfill(response=response)
            return
        maps = response.json()
        change(maps)
        route.fulfill(json=maps)

    page.route("**/front/attention*", answer)


def remove_exchange(maps: dict[str, Any]) -> None:
    """Leave what a model has whose two streams do not listen to each other."""
    maps |= {"segments_heard": None, "patches_heard": None}


def draw_halves(maps: dict[str, Any]) -> None:
    """Attend to the left half in the oldest segment, and to the right half in later ones."""
    for k, grid in enumerate(maps["patches_heard"]):
        row = [float((column < grid["cols"] // 2) == (k == 0)) for column in range(grid["cols"])]
        grid["values"] = row * grid["rows"]


def attention_requests(page) -> list[str]:
    """Return a list to which the addresses of requested maps are added."""
    asked: list[str] = []

    def note(sent) -> None:
        if "/attention?" in f"{sent.url}?":
            asked.append(sent.url)

    page.on("request", note)
    return asked


def opacity(canvas) -> np.ndarray:
    """Return the opacity of each pixel of a canvas (H, W), read from a copy made for reading."""
    script = """canvas => {
        if (!canvas.width || !canvas.height) return [1, 1, [0]];
        const copy = document.createElement("canvas");
        copy.width = canvas.width;
        copy.height = canvas.height;
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const alpha = Array.from(data.filter((value, index) => index % 4 === 3));
        return [copy.height, copy.width, alpha];
    }"""
    height, width, alpha = canvas.evaluate(script)
    return np.array(alpha).reshape(height, width)


def painted(canvas) -> float:
    """Return the share of a canvas that is not transparent."""
    return float((opacity(canvas) > 20).mean())


def halves(canvas) -> tuple[bool, bool]:
    """Return whether the middle of a canvas is painted, left and right of its center."""
    opaque = opacity(canvas) > 20
    width = opaque.shape[1]
    left, right = opaque[:, int(0.4 * width)], opaque[:, int(0.6 * width)]
    return bool(left.mean() > 0.5), bool(right.mean() > 0.5)


def test_nothing_serious_for_axe(page) -> None:
    wait_for(lambda: has_picture(page, "front"), 10)
    assert serious(page) == []


def test_the_theme_button_changes_light_and_dark(page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(16, 19, 23)" != light
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_what_is_kept_is_said(browser, live: Live, page) -> None:
    wait_for(lambda: "of the last 2 hours are kept" in page.locator("#keep").inner_text(), 10)
    short = browser.new_page()
    facts = page.request.get(f"{live.url}facts").json() | {"keep_s": 1200}
    short.route("**/facts", lambda route: route.fulfill(json=facts))
    short.goto(live.url)
    wait_for(lambda: "of the last 20 minutes are kept" in short.locator("#keep").inner_text(), 10)
    short.close()


def test_events_are_filtered_by_action(page) -> None:
    seen = page.locator("#events li strong")
    wait_for(lambda: page.locator("#events li", has_text="front").count() > 0, 90)
    label = page.locator("#events li", has_text="front").first.locator("strong").inner_text()
    labels = page.locator("#filter-label option").all_inner_texts()
    assert label in labels
    other = next(name for name in labels[1:] if name != label)
    page.select_option("#filter-label", other)
    wait_for(lambda: label not in seen.all_inner_texts(), 10)
    page.select_option("#filter-label", label)
    wait_for(lambda: set(seen.all_inner_texts()) == {label}, 10)


def test_an_event_is_used_with_the_keyboard(page) -> None:
    ended = page.locator("#events li button", has_text=re.compile("front|yard|past"))
    ended = ended.filter(has_not_text="now").first
    wait_for(lambda: ended.count() > 0, 90)
    handle = ended.element_handle()
    handle.focus()
    page.keyboard.press("Enter")
    wait_for(page.locator("#event").is_visible, 10)
    assert page.evaluate("document.activeElement.closest('dialog')?.id") == "event"
    page.keyboard.press("Escape")
    assert not page.locator("#event").is_visible()
    assert handle.evaluate("button => document.activeElement === button")


def test_events_of_two_runs_with_the_same_number_stay_apart(page) -> None:
    going = past_event("run2-1", phase="start", label="Pointing")
    old = [past_event("run1-1", id=7), past_event("run0-1", id=6, label="Pointing")]
    page.route("**/events?*", lambda route: route.fulfill(json=[going, *old]))
    page.route("**/events?*label=Pointing*", lambda route: route.fulfill(json=old[1:]))
    page.route("**/events/6", lambda route: route.fulfill(json=old[1] | {"pictures": []}))
    page.reload()
    mine = page.locator("#events li", has_text="front").filter(has_text="now")
    wait_for(lambda: page.locator("#events li", has_text="Waving").count() == 1, 10)
    assert page.locator("#events li", has_text="Pointing").count() == 2

    # The one that goes on is not stored yet; no other is shown in its place.
    with page.expect_request("**/events?*label=Pointing*"):
        mine.filter(has_text="Pointing").locator("button").click()
    wait_for(page.locator("#event").is_visible, 10)
    assert "once the event has ended" in page.locator("#event-facts").inner_text()


def test_a_late_answer_does_not_replace_a_newer_one(page) -> None:
    held: list[object] = []

    def hold(route) -> None:
        held.append(route)

    wait_for(lambda: page.locator("#filter-camera option").count() > len(CAMERAS), 20)
    page.route("**/events?camera=front*", hold)
    answer = [past_event("newer", camera="yard", label="newer")]
    page.route("**/events?camera=yard*", lambda route: route.fulfill(json=answer))
    page.select_option("#filter-camera", "front")
    page.select_option("#filter-camera", "yard")
    wait_for(lambda: page.locator("#events li", has_text="newer").count() > 0, 10)
    held[0].fulfill(json=[past_event("older", label="older")])
    page.wait_for_timeout(500)
    assert page.locator("#events li", has_text="older").count() == 0
    assert page.locator("#events li", has_text="newer").count() == 1


def test_a_refused_connection_is_tried_again(browser, live: Live) -> None:
    page = browser.new_page()
    page.route("**/messages", lambda route: route.fulfill(status=503), times=1)
    page.goto(live.url)
    state = page.locator("#connection")
    wait_for(lambda: state.inner_text() == "no connection", 10)
    with page.expect_request("**/events?*", timeout=20_000):
        wait_for(lambda: state.inner_text() == "connected", 20)

    # Somebody whose session has ended is led to the login.
    page.route("**/messages", lambda route: route.fulfill(status=401))
    facts = iter([200])
    page.route(
        "**/facts", lambda route: route.continue_() if next(facts, 0) else route.fulfill(status=401)
    )
    page.reload()
    page.wait_for_url("**/login", timeout=20_000)
    page.close()


def test_no_action_is_no_alarm(browser, live: Live) -> None:
    page = browser.new_page()
    tell(page, decision("front"))
    page.goto(live.url)
    action = page.locator(".tile", has_text="front").locator(".action")
    wait_for(lambda: action.count() > 0 and "no action 75" in action.inner_text(), 10)
    assert "none" in action.get_attribute("class").split()
    page.close()


def test_a_tile_without_a_stream_asks_in_one_loop(browser, live: Live) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 2400})
    asked: list[str] = []
    gray = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()

    def show(route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=gray, content_type="image/jpeg")

    page.route("**/stream*", show)
    page.route("**/snapshot.jpg*", show)
    tell(page, *(decision(f"many{number}") for number in range(5)))
    page.goto(live.url)
    wait_for(lambda: page.locator(".tile").count() == 5, 10)
    with page.expect_request("**/snapshot.jpg*", timeout=10_000):
        pass

    # As after a change of the tab.
    for _ in range(10):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    asked.clear()
    page.wait_for_timeout(2000)
    assert 1 <= len([url for url in asked if "snapshot" in url]) <= 9
    page.close()


def decision(camera: str) -> dict[str, object]:
    """Return a decision for no action, as the server sends it."""
    made = Decision(
        camera=camera, time_s=2.0, wall_s=1.7e9, window=(0.0, 2.0), label=NO_ACTION, label_id=-1,
        p=0.75, best="a", best_p=0.2, top=(("a", 0.2), ("b", 0.1)),
    )  # fmt: skip
    return made.to_json()


def tell(page, *records: dict[str, object]) -> None:
    """Give a page these messages instead of the server's."""
    body = "retry: 60000\n\n" + "".join(f"data: {json.dumps(record)}\n\n" for record in records)
    kind = "text/event-stream"
    page.route("**/messages", lambda route: route.fulfill(body=body, content_type=kind))


def test_another_machine_logs_in(
    browser, tiny_bundle: Path, tmp_path: Path, start: Callable[..., Live]
) -> None:
    # The token is shown also with --quiet.
    run = start(tiny_bundle, tmp_path, "--quiet", address="0.0.0.0:0")
    token = re.search(r"token \(shown once\): (\S+)", run.text)
    assert token is not None
    opened = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    problems = problems_of(opened)
    opened.goto(run.url)
    assert serious(opened) == []
    opened.fill("#token", "wrong")
    opened.click("button")
    wait_for(lambda: "Wrong token" in opened.locator("#answer").inner_text(), 10)
    opened.fill("#token", token[1])
    with opened.expect_navigation():
        opened.click("button")
    wait_for(lambda: has_picture(opened, "front"), 20)
    opened.close()
    run.stop()
    assert len(problems) == 1, problems  # the browser's own line about the wrong token
    assert "403" in problems[0]
