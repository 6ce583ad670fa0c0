"""A local server of weights: ranges, connections that break, and a hub's metadata."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest


class WeightsServer(ThreadingHTTPServer):
    """Serve `files`; misbehave as its attributes say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []  # Bytes after which the next answers break off.
        self.ranges = True
        self.motion: str | None = None  # Path of the weights that torchvision names for S3D.
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []  # Sent instead of the next answers.
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self, repository: str, name: str, content: bytes, card: dict) -> None:
        """Serve a repository of the Hugging Face hub with one file in large file storage."""
        digest = hashlib.sha256(content).hexdigest()
        lfs = {"sha256": digest, "size": len(content)}
        siblings = [{"rfilename": "README.md"}, {"rfilename": name, "lfs": lfs}]
        answer = {"sha": "c0ffee", "cardData": card, "siblings": siblings}
        self.files[f"/api/models/{repository}"] = json.dumps(answer).encode()
        self.files[f"/{repository}/resolve/c0ffee/{name}"] = content

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WeightsServer

    def do_GET(self) -> None:
        server = self.server
        path = urlsplit(self.path).path
        server.requests.append((path, dict(self.headers)))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path not in server.files:
            self.send_error(404)
            return

        content = server.files[path]
        start = 0
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()

        body = content[start:]
        if server.breaks:
            self.wfile.write(body[: server.breaks.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def weights_server(monkeypatch, tmp_path) -> Iterator[WeightsServer]:
    """A server in a thread; the hub and torchvision point at it, and the caches are empty."""
    import torch
    import torchvision
    from huggingface_hub import constants

    from gasmcast.models.backbones import download

    with WeightsServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
        monkeypatch.setattr(download, "PAUSE_S", 0.001)
        content = b"not the weights of S3D " * 40_000
        digest = hashlib.sha256(content).hexdigest()
        server.motion = f"/models/s3d-{digest[:8]}.pth"
        server.files[server.motion] = content
        monkeypatch.setattr(
            torchvision.models.video.S3D_Weights,
            "url",
            property(lambda _: f"{server.url}{server.motion or '/gone-00000000.pth'}"),
            raising=False,
        )
        yield server
        server.shutdown()
        thread.join()
