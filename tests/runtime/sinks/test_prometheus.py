from __future__ import annotations

import http.client
import json
import re
import socket
import threading

import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.sinks.metrics_server import parse_address
from gasmcast.runtime.sinks.prometheus import MetricsSink


def get(sink, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.fixture
def served():
    now = [0.0]
    health = Health(clock=lambda: now[0])
    sink = MetricsSink("127.0.0.1:0", health)
    yield sink, health, now
    sink.close()


def test_the_page_is_what_prometheus_reads(served, make):
    sink, health, _ = served
    health.set_ready()
    for record in (
        make.decision(),
        make.event(label='say "hi"\\'),
        make.event("end"),
        make.notice(),
        make.stats(),
    ):
        sink.write(record)
    status, text = get(sink, "/metrics")
    assert status == 200
    line = re.compile(
        r'^(# (HELP|TYPE) .+|[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)*\})? -?[0-9.e+-]+)$'
    )
    assert all(line.match(one) for one in text.splitlines())
    assert 'gasmcast_decisions_total{camera="cam"} 1' in text
    assert 'gasmcast_events_total{camera="cam",label="say \\"hi\\"\\\\"} 1' in text
    assert 'gasmcast_camera_state{camera="cam",state="live"} 1' in text
    assert 'gasmcast_latency_seconds{camera="cam",quantile="0.95"} 0.08' in text
    assert 'gasmcast_skipped_total{camera="cam",cause="late"} 2' in text
    assert "gasmcast_up 1" in text
    names = [one.split()[2] for one in text.splitlines() if one.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_health_says_who_is_stuck(served):
    sink, health, now = served
    health.watch("encoder", lambda: 0.0)
    health.watch_trouble("sink mqtt", lambda: "the broker is away")
    assert get(sink, "/health")[0] == 503  # not ready yet
    health.set_ready()
    status, body = get(sink, "/health")
    assert (status, json.loads(body)["troubles"]) == (200, {"sink mqtt": "the broker is away"})
    now[0] = 10.5
    status, body = get(sink, "/health")
    assert (status, json.loads(body)["late"]) == (503, ["encoder"])


def test_other_paths_other_names_and_too_many_clients(served):
    sink, _, _ = served
    assert get(sink, "/../etc/passwd")[0] == 404
    assert get(sink, "/metrics", host="evil.example")[0] == 421
    idle = [socket.create_connection(("127.0.0.1", sink.port)) for _ in range(40)]
    threads = threading.active_count()
    assert threads < 40
    for one in idle:
        one.close()
    for _ in range(100):
        try:
            if get(sink, "/metrics")[0] == 200:
                break
        except (http.client.HTTPException, OSError):
            threading.Event().wait(0.05)
    assert get(sink, "/metrics")[0] == 200


def test_an_address_in_use_is_one_sentence(served):
    sink, _, _ = served
    with pytest.raises(MachineError, match="cannot be served"):
        MetricsSink(f"127.0.0.1:{sink.port}")


def test_it_is_served_to_this_machine_by_ipv6_too():
    try:
        sink = MetricsSink("[::1]:0", Health())
    except MachineError:
        pytest.skip("this machine has no IPv6")
    try:
        statuses = []
        for host in (None, "evil.example"):
            connection = http.client.HTTPConnection("::1", sink.port, timeout=5)
            connection.request("GET", "/metrics", headers={"Host": host} if host else {})
            statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses == [200, 421]
    finally:
        sink.close()


def test_addresses():
    assert parse_address("9000") == ("127.0.0.1", 9000)
    assert parse_address(":9000") == ("127.0.0.1", 9000)
    assert parse_address("0.0.0.0:9000") == ("0.0.0.0", 9000)
    assert parse_address("[::1]:9000") == ("::1", 9000)
    assert parse_address("box") == ("box", 9464)
    for text in ("box:x", "1:99999", "::1", "::1:9000"):
        with pytest.raises(UsageError):
            parse_address(text)
