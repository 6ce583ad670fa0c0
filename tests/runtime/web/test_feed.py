"""What a run shows to browsers: keys of events, and events of the store with those in memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from gasmcast.runtime.records import Event, Notice
from gasmcast.runtime.web.event_store import EventStore
from gasmcast.runtime.web.feed import WebFeed
from tests.runtime.web.site import EVENT, PICTURE, decision, stats


def event(phase: str, number: int, wall_s: float, camera: str = "front door") -> Event:
    return replace(EVENT, phase=phase, number=number, wall_s=wall_s, camera=camera)


def keys(feed: WebFeed) -> list[str]:
    return [found["key"] for found in feed.events()]


def test_an_event_has_one_key_from_start_to_end() -> None:
    async def messages() -> list[dict[str, Any]]:
        with feed.subscribe() as subscriber:
            for phase in ("start", "update", "end"):
                feed.write(event(phase, 1, 1e9))
            feed.write(event("start", 1, 1e9 + 5))  # the camera was replaced: it counts anew
            return [json.loads(message) for message in await subscriber.take(1.0)]

    feed = WebFeed()
    start, end, other = asyncio.run(messages())
    assert start["key"] == end["key"] != other["key"]
    assert keys(feed) == [other["key"], start["key"]]


def test_keys_differ_between_runs_that_share_a_store(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        feed = WebFeed(EventStore(tmp_path / "e.sqlite", 3600, wall=lambda: 1e9))
        for name in ("front door", "yard"):
            feed.write(event("start", 1, 1e9, name))
            feed.write(event("end", 1, 1e9, name))
        seen += keys(feed)
        feed.close()
        assert set(keys(feed)) >= set(seen)
        assert all("id" in found for found in feed.events())
    assert len(seen) == 2 + 4
    assert len(set(seen)) == 4


def test_events_that_go_on_or_were_not_written_are_listed_with_the_stored_ones(
    tmp_path: Path,
) -> None:
    feed = WebFeed(EventStore(tmp_path / "e.sqlite", 3600, wall=lambda: 1e9))
    feed.write(event("end", 1, 1e9))
    feed.close()
    feed.write(event("end", 2, 1e9 + 2))  # nobody writes it any more
    feed.write(event("start", 3, 1e9 + 3, "yard"))
    feed.write(event("end", 4, 1e9 - 4000))  # expired
    found = feed.events()
    assert [(one["number"], "id" in one) for one in found] == [(3, False), (2, False), (1, True)]
    assert [one["number"] for one in feed.events(camera="yard")] == [3]
    assert [one["number"] for one in feed.events(before_s=1e9 + 1)] == [1]
    assert feed.events(label="Jumping") == []


def test_events_of_an_earlier_version_have_a_key(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "e.sqlite", 3600, wall=lambda: 1e9)
    store.write(event("end", 1, 1e9))
    store.close()
    (found,) = store.events()
    assert found["key"] == f"stored-{found['id']}"


def test_a_camera_that_a_page_heard_of_is_known() -> None:
    feed = WebFeed()
    connecting = Notice("gate", 0.0, 0.0, "state", "gate connects.")
    feed.write(connecting)
    assert feed.cameras() == ["gate"]
    feed.write(stats("front door", "gate"))
    assert feed.cameras() == ["front door", "gate"]
    feed.write(stats("front door"))
    assert feed.cameras() == ["front door"]
    feed.write(connecting)
    feed.forget("gate")
    assert feed.cameras() == ["front door"]


def test_cameras_that_left_are_forgotten() -> None:
    feed = WebFeed()
    feed.write(decision(1.0))
    with feed.watch("front door"):
        feed.frame("front door", 1.0, PICTURE)
        feed.write(stats("front door", "yard"))
        assert feed.picture("front door") is not None
        feed.write(stats("yard"))
        assert feed.picture("front door") is None
        assert feed.cameras() == ["yard"]
