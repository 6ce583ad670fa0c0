from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time

import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.service.health import Health
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


def test_head_answers_like_get_without_a_body(served):
    sink, health, _ = served
    health.set_ready()
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    connection.request("HEAD", "/health")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 10
    assert "Access-Control-Allow-Origin" not in answer.headers
    connection.close()


def test_other_methods_are_refused(served):
    sink, _, _ = served
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    connection.request("POST", "/health", body=b"x")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    connection.close()


@pytest.mark.parametrize("clients", [16, 150])
def test_slow_clients_do_not_keep_health_from_others(served, clients):
    """Each sends a byte now and then, for as long as it likes."""
    sink, health, _ = served
    health.set_ready()
    slow = [socket.create_connection(("127.0.0.1", sink.port)) for _ in range(clients)]
    threads = threading.active_count()
    try:
        for letter in b"GET /h":
            for one in slow:
                # Where there are too many, the oldest are closed.
                with contextlib.suppress(OSError):
                    one.send(bytes([letter]))
            assert get(sink, "/health")[0] == 200
        assert get(sink, "/metrics")[0] == 200
        assert threading.active_count() <= threads
    finally:
        for one in slow:
            one.close()


def test_a_connection_ends_by_its_deadline_however_slow_its_client_is(served, monkeypatch):
    monkeypatch.setattr("gasmcast.runtime.sinks.metrics_server._MetricsProtocol.request_s", 0.5)
    sink, _, _ = served
    slow = socket.create_connection(("127.0.0.1", sink.port), timeout=5)
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        slow.send(b"GET /metrics HTTP/1.1\r\nX: ")
        while time.monotonic() - started < 5:
            slow.send(b"a")
            time.sleep(0.1)
    assert time.monotonic() - started < 3
    slow.close()


def test_garbage_is_not_logged(served, caplog):
    sink, _, _ = served
    with socket.create_connection(("127.0.0.1", sink.port), timeout=5) as one:
        one.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 400")
    assert caplog.text == ""


def test_every_class_is_a_series_of_its_own(served, make):
    """`{}` in a label was taken out, so that two classes became one series twice."""
    sink, _, _ = served
    labels = ["Pouring {} into {}", "Pouring  into ", "a{}", "a{}{}", "倒す", "b\nc", "\udce9"]
    for label in labels:
        sink.write(make.event(label=label))
    status, text = get(sink, "/metrics")
    assert status == 200
    series = [one.rsplit(" ", 1)[0] for one in text.splitlines() if one.startswith("gasmcast_ev")]
    assert len(series) == len(set(series)) == len(labels)
    assert 'label="Pouring {} into {}"' in text
    assert r'label="b\nc"' in text


def test_an_uptime_of_weeks_keeps_its_digits(served):
    sink, health, now = served
    health.watch("encode", lambda: 0.0)
    now[0] = 12_345_678.25
    text = sink.text()
    assert "gasmcast_uptime_seconds 12345678" in text
    assert 'gasmcast_stage_age_seconds{stage="encode"} 12345678' in text


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
