"""Events with pictures on disk: what is kept, for how long, and what a full disk does."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.web import event_store
from gasmcast.runtime.web.event_store import EventStore
from tests.runtime.web.site import stats

PICTURE = np.full((240, 960, 3), (200, 40, 10), np.uint8)


def decision(time_s: float, p: float, camera: str = "door") -> Decision:
    return Decision(
        camera=camera, time_s=time_s, wall_s=1e9 + time_s, window=(time_s - 2, time_s),
        label="Waving", label_id=0, p=p, best="Waving", best_p=p, top=(("Waving", p),),
    )  # fmt: skip


def event(phase: str, number: int, time_s: float, camera: str = "door") -> Event:
    return Event(
        camera=camera, time_s=time_s, wall_s=1e9 + time_s, phase=phase, label="Waving", label_id=0,
        p=0.9, onset_s=time_s - 1, detected_s=time_s, duration_s=1.0, report_delay_s=0.0,
        number=number,
    )  # fmt: skip


def run_event(store: EventStore, number: int, start_s: float, camera: str = "door") -> None:
    """Let a camera see one event of two seconds, with pictures before and during it."""
    for k in range(4):
        store.frame(camera, start_s - 2 + 0.5 * k, PICTURE)
    store.write(event("start", number, start_s, camera))
    for k in range(4):
        store.frame(camera, start_s + 0.5 * k, PICTURE)
        store.write(decision(start_s + 0.5 * k, 0.5 + 0.1 * k, camera))
    store.write(event("end", number, start_s + 2, camera))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_event_comes_back_with_its_pictures_and_its_confidence(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "state" / "events.sqlite", 3600, wall=lambda: 1e9)
    run_event(store, 1, 10.0)
    run_event(store, 1, 20.0, "yard")
    store.close()

    again = EventStore(tmp_path / "state" / "events.sqlite", 3600, wall=lambda: 1e9)
    assert [found["camera"] for found in again.events()] == ["yard", "door"]
    assert [found["camera"] for found in again.events(camera="door")] == ["door"]
    assert again.events(label="Jumping") == []
    assert [found["camera"] for found in again.events(before_s=1e9 + 15)] == ["door"]

    found = again.event(again.events(camera="door")[0]["id"])
    assert found is not None
    assert [p for _, p in found["curve"][1:]] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert [picture["time_s"] for picture in found["pictures"]] == [8 + 0.5 * k for k in range(8)]
    data = again.picture(found["id"], 0)
    assert data is not None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (80, 320, 3)
    np.testing.assert_allclose(image.mean((0, 1))[::-1], (200, 40, 10), atol=6)
    again.close()


def test_the_file_belongs_to_its_user_alone(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite", 3600)
    store.close()
    assert (tmp_path / "events.sqlite").stat().st_mode & 0o077 == 0


def test_old_events_go(tmp_path: Path) -> None:
    now = [1e9 + 12]
    store = EventStore(tmp_path / "events.sqlite", 60, wall=lambda: now[0])
    run_event(store, 1, 10.0)
    wait_for(lambda: len(store.events()) == 1)
    now[0] = 1e9 + 1000
    run_event(store, 2, 999.0)
    wait_for(lambda: [found["number"] for found in store.events()] == [2])
    store.close()


def count(store: EventStore) -> tuple[int, int]:
    """Return how many events and pictures are in the file."""
    database = sqlite3.connect(store.file)
    counts = [
        database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("event", "picture")
    ]
    database.close()
    return counts[0], counts[1]


def test_old_events_go_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "_PURGE_EVERY_S", 0.05)
    now = [1e9 + 12]
    store = EventStore(tmp_path / "events.sqlite", 60, wall=lambda: now[0])
    run_event(store, 1, 10.0)
    wait_for(lambda: len(store.events()) == 1)
    number = store.events()[0]["id"]
    now[0] = 1e9 + 1000

    # They are not shown from this moment on, and gone from the disk soon.
    assert store.events() == []
    assert store.event(number) is None
    assert store.picture(number, 0) is None
    wait_for(lambda: count(store) == (0, 0))
    store.close()


def test_old_events_go_at_the_start(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite", 60, wall=lambda: 1e9)
    run_event(store, 1, 10.0)
    store.close()
    assert count(store) == (1, 8)
    again = EventStore(store.file, 60, wall=lambda: 1e9 + 1000)
    assert again.events() == []
    wait_for(lambda: count(again) == (0, 0))
    again.close()


def test_the_curve_of_a_long_event_is_thinned(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite", 1e9, wall=lambda: 1e9)
    store.write(event("start", 1, 0.0))
    for k in range(20_000):
        store.write(decision(0.5 * (k + 1), 0.5))
    store.write(event("end", 1, 10_000.0))
    store.close()
    times = [time_s for time_s, _ in store.event(1)["curve"]]
    assert 600 <= len(times) <= 1200
    assert times[0] == 0.0
    assert times[-1] > 9900
    assert len({round(step, 6) for step in np.diff(times)[1:]}) == 1


def test_a_hanging_disk_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "_CLOSE_S", 0.1)
    monkeypatch.setattr(event_store, "_WAITING", 2)
    release = threading.Event()
    monkeypatch.setattr(EventStore, "_insert", lambda *_: release.wait(30))
    store = EventStore(tmp_path / "events.sqlite", 3600, wall=lambda: 1e9)
    for number in range(5):
        run_event(store, number, 10.0 * number)
    assert "too slow" in store.trouble
    started = time.monotonic()
    store.close()
    assert time.monotonic() - started < 4
    release.set()


def test_cameras_that_left_are_forgotten(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite", 3600, wall=lambda: 1e9)
    for name in ("door", "browser-1"):
        store.frame(name, 1.0, PICTURE)
    store.write(stats("door", "browser-1"))
    assert list(store._open_events._cameras) == ["door", "browser-1"]
    store.write(stats("door"))
    assert list(store._open_events._cameras) == ["door"]
    store.close()


def test_the_oldest_events_go_when_the_file_is_too_large(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite", 1e9, max_bytes=120_000, wall=lambda: 1e9)
    rng = np.random.default_rng(0)
    for number in range(30):
        start_s = 10.0 * number
        store.write(event("start", number, start_s))
        for k in range(4):
            store.frame("door", start_s + 0.5 * k, rng.integers(0, 255, (64, 64, 3), np.uint8))
        store.write(event("end", number, start_s + 2))
    store.close()
    numbers = [found["number"] for found in store.events()]
    assert numbers[0] == 29
    assert 0 < len(numbers) < 30
    assert store.file.stat().st_size <= 120_000


def test_a_damaged_file_is_one_sentence_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"no database, but long enough to be looked at" * 40)
    with pytest.raises(MachineError, match="cannot store events"):
        EventStore(tmp_path / "events.sqlite", 60)


def test_a_full_disk_is_reported_once_and_reading_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EventStore(tmp_path / "events.sqlite", 3600, wall=lambda: 1e9)
    run_event(store, 1, 10.0)
    wait_for(lambda: len(store.events()) == 1)
    (tmp_path / "events.sqlite").chmod(0o400)
    (tmp_path / "events.sqlite").rename(tmp_path / "gone.sqlite")
    (tmp_path / "events.sqlite").mkdir()
    for number in (2, 3):
        run_event(store, number, 10.0 * number)
    wait_for(lambda: bool(store.trouble))
    store.close()
    assert caplog.text.count("an event was not stored") == 1
    assert store.events() == []
