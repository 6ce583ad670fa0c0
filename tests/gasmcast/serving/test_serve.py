"""`gasmcast serve` with Triton's own client, and with clients that are no good."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gasmcast.runtime.streaming_model import open_model

SHAPE = (5, 4, 32, 32, 3)
"""Clip of the tiny bundle: lead-in and four segments of four frames."""


def clips(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def expected(bundle, clip):
    """Return the logits of one clip by the engines themselves."""
    model, _ = open_model(bundle, threads=1)
    pairs = np.stack([clip[i : i + 2] for i in range(len(clip) - 1)])
    features = model.encoder.run({"segments": pairs})
    return model.head.run({name: value[None] for name, value in features.items()})["logits"][0]


def infer(client, clip, *, binary=True, outputs=None, model="tiny"):
    http = pytest.importorskip("tritonclient.http")
    given = http.InferInput("clip", clip.shape, "UINT8")
    given.set_data_from_numpy(clip, binary_data=binary)
    wanted = outputs and [http.InferRequestedOutput(n, binary_data=b) for n, b in outputs.items()]
    return client.infer(model, [given], outputs=wanted)


def post(address, path, body, headers=None):
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "sequence"]
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("other")
    tree = client.get_model_metadata("tiny")
    assert tree["inputs"] == [{"name": "clip", "datatype": "UINT8", "shape": [-1, *SHAPE]}]
    assert [port["name"] for port in tree["outputs"]] == ["logits", "probabilities"]
    assert len(tree["parameters"]["labels"]) == 3


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("outputs", [None, {"logits": True}, {"logits": False}])
def test_logits_are_those_of_the_engines(client, tiny_bundle, binary, outputs):
    batch = clips(2)
    result = infer(client, batch, binary=binary, outputs=outputs)
    logits = result.as_numpy("logits")
    wanted = [expected(tiny_bundle, clip) for clip in batch]
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)
    if outputs is None:
        p = result.as_numpy("probabilities")
        np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-6)
        assert (p.argmax(1) == logits.argmax(1)).all()


def test_requests_of_many_clients_share_batches(serving, tiny_bundle):
    http = pytest.importorskip("tritonclient.http")
    with serving("--batch-delay-ms", "200") as (address, _):
        results = {}

        def one(number):
            with http.InferenceServerClient(address) as client:
                results[number] = infer(client, clips(1, number)).as_numpy("logits")[0]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, logits in results.items():
            wanted = expected(tiny_bundle, clips(1, number)[0])
            np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)
        assert len(results) == 4

        # Four windows of four clients: fewer batches of the head than windows.
        page = get(address, "/metrics")
        assert 'gasmcast_serve_rows_total{bundle="tiny",stage="head"} 4' in page
        batches = page.split('gasmcast_serve_batches_total{bundle="tiny",stage="head"} ')[1]
        assert int(batches.split()[0]) < 4


def get(address, path):
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", path)
    content = connection.getresponse().read().decode()
    connection.close()
    return content


GOOD = {"name": "clip", "datatype": "UINT8", "shape": [1, *SHAPE]}
BINARY = GOOD | {"parameters": {"binary_data_size": int(np.prod(SHAPE))}}
BAD = [
    (b"no json", 400, "not JSON"),
    ({}, 400, "no list of inputs"),
    ({"inputs": []}, 400, "'clip' is missing"),
    ({"inputs": [GOOD | {"name": "x"}]}, 400, "'x' is unknown"),
    ({"inputs": [GOOD | {"datatype": "FP32"}]}, 400, "must be UINT8"),
    ({"inputs": [GOOD | {"shape": [1, 2, 3]}]}, 400, "must have the shape"),
    ({"inputs": [GOOD | {"shape": [0, *SHAPE]}]}, 400, "must have the shape"),
    ({"inputs": [GOOD | {"shape": [10**12, *SHAPE]}]}, 400, "whole numbers"),
    ({"inputs": [GOOD | {"data": [1, 2]}]}, 400, "whole numbers"),
    ({"inputs": [GOOD | {"data": [[1], [1, 2]]}]}, 400, "whole numbers"),
    ({"inputs": [GOOD | {"data": ["a"] * int(np.prod(SHAPE))}]}, 400, "whole numbers"),
    ({"inputs": [GOOD | {"data": [256] * int(np.prod(SHAPE))}]}, 400, "goes from"),
    ({"inputs": [BINARY]}, 400, "bytes follow"),
    ({"inputs": [GOOD | {"parameters": {"binary_data_size": -1}}]}, 400, "binary_data_size"),
    ({"inputs": [GOOD, GOOD]}, 400, "whole numbers"),
]


@pytest.mark.parametrize(("body", "status", "text"), BAD)
def test_bad_requests_are_clear_errors(server, body, status, text):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response, answer = post(server, "/v2/models/tiny/infer", content)
    assert (response.status, text in json.loads(answer)["error"]) == (status, True), answer


def test_wrong_places_methods_and_encodings(server):
    for path, status in [
        ("/v2/models/other/infer", 404),
        ("/v2/models/tiny/versions/2/infer", 404),
        ("/nowhere", 404),
        ("/v2/health/live", 405),
    ]:
        response, answer = post(server, path, b"{}")
        assert response.status == status
        assert json.loads(answer)["error"]
    response, _ = post(server, "/v2/models/tiny/infer", b"", {"Content-Encoding": "gzip"})
    assert response.status == 415
    headers = {"Inference-Header-Content-Length": "99"}
    response, answer = post(server, "/v2/models/tiny/infer", b"{}", headers)
    assert response.status == 400
    assert b"the body has 2 bytes" in answer


def test_a_gigabyte_is_refused_before_it_is_sent(server):
    host, port = server.split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        request = (
            "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"
        )
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert b" 413 " in answer
    assert b"at most" in answer


def test_an_endless_body_is_cut_off(server):
    host, port = server.split(":")
    head = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(head.encode())
        sent = 0
        try:
            while sent < 200:
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 1
        except OSError:
            pass
    assert sent < 200


def hold(address):
    """Send half of a request, and return the connection."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), 30)
    head = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    connection.sendall(head.encode())
    return connection


def in_work(address):
    return int(get(address, "/metrics").split("\ngasmcast_serve_in_work ")[1].split()[0])


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_full_server_says_when_to_come_back(serving):
    http_client = pytest.importorskip("tritonclient.http")
    with serving("--queue", "2") as (address, _):
        held = [hold(address) for _ in range(2)]
        wait_until(lambda: in_work(address) == 2)
        response, answer = post(address, "/v2/models/tiny/infer", b"x" * 100_000)
        assert response.status == 503
        assert response.getheader("Retry-After") == "1"
        assert b"being worked on" in answer
        # Health is not behind the queue.
        assert get(address, "/v2/health/ready") == '{"ready":true}'

        # Clients that disconnect give their room back.
        for connection in held:
            connection.close()
        wait_until(lambda: in_work(address) == 0)
        with http_client.InferenceServerClient(address) as client:
            assert infer(client, clips(1)).as_numpy("logits").shape == (1, 3)
        assert 'status="499"' in get(address, "/metrics")


def binary_request(count=1):
    """Return a whole request with a clip in the binary extension."""
    content = clips(count).tobytes()
    given = GOOD | {"shape": [count, *SHAPE], "parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"inputs": [given]}).encode()
    head = (
        "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\n"
        f"Content-Length: {len(header) + len(content)}\r\n\r\n"
    )
    return head.encode() + header + content


def memory_mb(process, name="VmHWM"):
    """Return the largest resident size that a process had, or another line of its status."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_thousand_clients_are_answered_or_sent_away(serving):
    """Every client gets an answer, also when there are many more than the server takes."""
    request = binary_request()

    async def one(address):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1])

    async def everyone(address):
        return await asyncio.gather(*[one(address) for _ in range(1000)])

    with serving("--queue", "8") as (address, process):
        before_mb = memory_mb(process)
        statuses = asyncio.run(everyone(address))
        assert len(statuses) == 1000
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 8
        assert in_work(address) == 0
        assert memory_mb(process) - before_mb < 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nX-A: ", b""),
        (b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{", b"408"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v2 HTTP/1.1\r\nHost: ", b"200"),
    ],
    ids=["nothing", "head", "body", "second head"],
)
def test_slow_clients_are_cut(impatient, sent, status):
    """A byte every tenth of a second does not keep a connection; others are answered meanwhile."""
    host, port = impatient.split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), 0.1) as connection:
        connection.sendall(sent)
        answer = b""
        while time.monotonic() - started < 20:
            try:
                chunk = connection.recv(65536)
                answer += chunk
                if not chunk:
                    break
            except TimeoutError:
                with suppress(OSError):
                    connection.sendall(b"x" if sent else b"")
            except OSError:
                break
        assert time.monotonic() - started < 10
    assert answer.split()[1:2] == ([status] if status else [])
    assert get(impatient, "/v2/health/ready") == '{"ready":true}'


@pytest.fixture(scope="module")
def impatient(serving):
    """Return the address of a server with time limits of a second."""
    patch = (
        "import gasmcast.serving.http_app as app, gasmcast.serving.http_server as server\n"
        "app._READ_S = server._ServeProtocol.request_s = 1.0"
    )
    with serving(patch=patch) as (address, _):
        yield address


def test_clients_that_say_nothing_do_not_keep_others_out(serving):
    """Beyond the largest number of connections, idle ones make room."""
    patch = "import gasmcast.serving.http_server as server\nserver._MAX_CONNECTIONS = 20"
    with serving(patch=patch) as (address, _):
        host, port = address.split(":")
        silent = [socket.create_connection((host, int(port)), 30) for _ in range(60)]
        assert get(address, "/v2/health/ready") == '{"ready":true}'
        for connection in silent:
            connection.close()


def test_sigterm_answers_what_was_accepted(serving):
    with serving() as (address, process):
        body = json.dumps({"inputs": [GOOD | {"data": clips(1).reshape(-1).tolist()}]}).encode()
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), 30) as connection:
            head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + body[:100])
            wait_until(lambda: in_work(address) == 1)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((host, int(port)), 5)

            connection.sendall(body[100:])
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert b"200 OK" in answer
        assert b'"logits"' in answer
        assert process.wait(30) == 0
