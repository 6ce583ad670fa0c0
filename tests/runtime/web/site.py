"""A web view for tests: a feed, its server, and requests to it."""

from __future__ import annotations

import http.client

import numpy as np

from gasmcast.runtime.records import CameraStats, Decision, Event, Stats
from gasmcast.runtime.web.app import Page
from gasmcast.runtime.web.event_store import EventStore
from gasmcast.runtime.web.feed import WebFeed
from gasmcast.runtime.web.server import WebServer, listen

PICTURE = np.full((120, 160, 3), (0, 200, 0), np.uint8)
EVENT = Event(
    camera="front door", time_s=3.0, wall_s=1e9, phase="end", label="Waving", label_id=0, p=0.9,
    onset_s=1.0, detected_s=2.0, duration_s=1.0, report_delay_s=0.0, number=1,
)  # fmt: skip


def decision(time_s: float) -> Decision:
    return Decision(
        camera="front door", time_s=time_s, wall_s=1e9, window=(time_s - 2, time_s),
        label="Waving", label_id=0, p=0.8, best="Waving", best_p=0.8, top=(("Waving", 0.8),),
    )  # fmt: skip


def stats(*names: str) -> Stats:
    cameras = [CameraStats(name, "live", 9, 8, 7, {}, 25.0, 1.0, {"p95": 40.0}) for name in names]
    return Stats(
        camera="", time_s=0.0, wall_s=1e9, stages_ms={}, level=0, busy=0.1, cameras=tuple(cameras)
    )  # fmt: skip


class Site:
    """A feed, its server, and requests to it."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        store: EventStore | None = None,
        page: Page | None = None,
    ) -> None:
        self.feed = WebFeed(store)
        bound, listener = listen(f"{host}:0")
        page = page or Page(facts={"engine": "test", "labels": ["Waving"]})
        self.server = WebServer(bound, listener, self.feed, page)
        self.feed.write(stats("front door"))
        self._open: list[http.client.HTTPConnection | http.client.HTTPResponse] = []

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        self._open += [answer, connection]
        return answer

    def hang_up(self) -> None:
        """Close all connections."""
        for opened in self._open:
            opened.close()

    def close(self) -> None:
        self.hang_up()
        self.server.close()
        self.feed.close()


def read_until(stream: http.client.HTTPResponse, text: bytes, limit: int = 100_000) -> bytes:
    data = b""
    while text not in data:
        data += stream.read1(4096)
        assert len(data) < limit
    return data
