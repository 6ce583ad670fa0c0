"""Connections to cameras: patience, sizes, playlists, certificates and refusals."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time

import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.connection_settings import ConnectionSettings
from gasmcast.runtime.sources.network import NetworkSource

MJPEG = "multipart/x-mixed-replace; boundary=edge"


def jpeg(number, size=(48, 64)):
    image = np.full((*size, 3), number * 7 % 256, np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def part(data):
    head = b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
    return head + data + b"\r\n"


@pytest.fixture
def camera():
    """Return a function that starts an HTTP server and returns its address and its requests."""
    servers = []

    def start(kind, send, status=200, context=None):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader closed the connection
                    send(self.wfile.write)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def take(source, count):
    frames = source.frames()
    taken = list(itertools.islice(frames, count))
    frames.close()
    return taken


def test_a_stream_that_is_joined_before_its_key_frame_is_waited_for(camera, tmp_path):
    """4 s between key frames; the client joins after the first of them."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not installed (make debian)")
    path = tmp_path / "a.ts"
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"]
    command += ["-t", "8", "-c:v", "libx264", "-g", "100", "-sc_threshold", "0", path]
    subprocess.run(command, check=True, timeout=60)
    data = path.read_bytes()
    joined = len(data) // 188 // 10 * 188

    def send(write):
        for begin in range(joined, len(data), 188 * 7):
            write(data[begin : begin + 188 * 7])
            time.sleep(8 * 188 * 7 / len(data))

    place, requests = camera("video/mp2t", send)
    source = NetworkSource(f"http://{place}/video", "cam")
    assert source.patience_s > 20.0
    frames = take(source, 10)
    assert frames[0].image.shape == (120, 160, 3)
    assert requests == ["/video"], "it was opened once"
    assert source.patience_s < 5.0


def test_a_camera_of_one_picture_in_three_seconds_is_live(camera):
    def send(write):
        for number in itertools.count():
            write(part(jpeg(number) + bytes(8000)))
            time.sleep(3.0)

    place, requests = camera(MJPEG, send)
    source = NetworkSource(f"http://{place}/video", "cam")
    frames = take(source, 3)
    assert frames[2].stamp_s - frames[1].stamp_s == pytest.approx(3.0, abs=0.7)
    assert len(requests) == 1
    assert source._read_timeout_s() == pytest.approx(6.0, abs=1.5)
    source.gap_s = 20.0
    assert source._read_timeout_s() == 20.0


def test_large_pictures_are_refused_before_they_are_decoded(camera):
    """One camera must not have the service killed for memory."""
    large = cv2.imencode(".jpg", np.zeros((12_000, 12_000), np.uint8))[1].tobytes()

    def send(write):
        for _ in range(300):
            write(part(large))

    place, _ = camera(MJPEG, send)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError, match=r"sends pictures|not with video|no picture that can"):
        take(NetworkSource(f"http://{place}/video", "cam"), 1)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert grown_mb < 150, "a decoded picture has 216 MB"


@pytest.mark.parametrize("kind", ["application/vnd.apple.mpegurl", MJPEG])
def test_a_camera_cannot_answer_with_a_playlist_of_other_hosts(camera, kind):
    other, requests = camera("video/mp2t", lambda write: None)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://{other}/a.ts\n".encode()
    place, _ = camera(kind, lambda write: write(text))
    with pytest.raises(SourceError):
        take(NetworkSource(f"http://{place}/video", "cam"), 1)
    assert requests == []


@pytest.mark.parametrize(
    ("login", "status", "says"),
    [
        ("u:wr0ng@", 401, "refuses this user name or password"),
        ("", 401, "wants a user name and password"),
        ("", 404, "no such path"),
        ("", 403, "forbids it"),
    ],
)
def test_what_a_camera_refuses_is_said(camera, login, status, says):
    place, _ = camera("text/html", lambda write: None, status)
    with pytest.raises(SourceError, match=says) as error:
        take(NetworkSource(f"http://{login}{place}/video", "cam"), 1)
    assert "wr0ng" not in str(error.value)


def test_a_page_or_a_single_picture_is_no_video(camera):
    place, _ = camera("image/jpeg", lambda write: write(jpeg(1)))
    with pytest.raises(SourceError, match="not with video"):
        take(NetworkSource(f"http://{place}/snap.jpg", "cam"), 1)


def test_a_camera_that_serves_rtsp_over_udp_only_names_the_setting():
    server = socket.create_server(("127.0.0.1", 0))
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
    )
    transports = []

    def answer(request):
        status, more, body = "200 OK", "", ""
        if request.startswith("DESCRIBE"):
            body = sdp
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n"
        if request.startswith("SETUP"):
            transports.append(request.split("Transport:")[1].split("\r\n")[0])
            status = "461 Unsupported Transport"
        number = request.split("CSeq:")[1].split()[0]
        return f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{more}\r\n{body}"

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                with client:
                    while request := client.recv(4096).decode():
                        client.sendall(answer(request).encode())

    threading.Thread(target=serve, daemon=True).start()
    url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
    with pytest.raises(SourceError, match="rtsp: udp"):
        take(NetworkSource(url, "cam"), 1)
    assert "TCP" in transports[-1]
    with pytest.raises(SourceError):
        take(NetworkSource(url, "cam", settings=ConnectionSettings(rtsp="udp")), 1)
    assert "TCP" not in transports[-1]
    server.close()


def test_a_certificate_is_verified_unless_the_camera_is_set_otherwise(camera, tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (make debian)")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", key, "-out", certificate, "-subj", "/CN=IPC"]
    command += ["-addext", "subjectAltName=DNS:IPC"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def send(write):
        for number in range(200):
            write(part(jpeg(number)))
            time.sleep(0.04)

    place, requests = camera(MJPEG, send, context=context)

    def read(**settings):
        url = f"https://u:hunter2@{place}/video"
        return take(NetworkSource(url, "cam", settings=ConnectionSettings(**settings)), 2)

    for settings in ({}, {"tls_ca": certificate}):
        with pytest.raises(SourceError, match=r"is not trusted.*tls_ca"):
            read(**settings)
    assert requests == [], "no password was sent"
    assert read(tls_ca=certificate, tls_name="IPC")
    assert read(tls_insecure=True)


def test_an_unknown_hardware_decoder_is_one_sentence(camera):
    def send(write):
        for number in range(200):
            write(part(jpeg(number)))
            time.sleep(0.04)

    place, _ = camera(MJPEG, send)
    source = NetworkSource(
        f"http://{place}/video", "cam", settings=ConnectionSettings(hwaccel="nosuch")
    )
    with pytest.raises(SourceError, match="nosuch"):
        take(source, 1)
