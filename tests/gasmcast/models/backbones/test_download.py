"""A broken download continues, and nothing but the published bytes is ever taken for complete."""

from __future__ import annotations

import hashlib
import socket

import pytest

from gasmcast.models.backbones import download as module
from gasmcast.models.backbones.download import ChecksumError, DownloadError, download

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(weights_server) -> str:
    weights_server.files["/w.bin"] = CONTENT
    return f"{weights_server.url}/w.bin"


def ranges(server) -> list[str | None]:
    return [headers.get("Range") for _, headers in server.requests]


def test_a_whole_file_arrives_with_its_progress(url, weights_server, tmp_path) -> None:
    seen = []
    target = tmp_path / "deep" / "w.bin"
    download(url, target, DIGEST, progress=lambda _, done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert list(target.parent.iterdir()) == [target]


def test_a_connection_that_breaks_is_continued_at_once(url, weights_server, tmp_path) -> None:
    weights_server.breaks = [300_000, 0, 200_000]
    download(url, tmp_path / "w.bin", DIGEST[:8])
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    wanted = [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]
    assert ranges(weights_server) == wanted


def test_a_call_that_gave_up_is_continued_by_the_next(url, weights_server, tmp_path) -> None:
    weights_server.breaks = [1000] + [0] * 10
    with pytest.raises(DownloadError, match="broke off after 1000 of 1024000 bytes"):
        download(url, tmp_path / "w.bin", DIGEST)
    assert not (tmp_path / "w.bin").exists()

    weights_server.breaks.clear()
    weights_server.requests.clear()
    download(url, tmp_path / "w.bin", DIGEST)
    assert ranges(weights_server) == ["bytes=1000-"]
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(url, weights_server, tmp_path) -> None:
    (tmp_path / "w.bin.part").write_bytes(CONTENT[:999])
    weights_server.ranges = False
    download(url, tmp_path / "w.bin", DIGEST)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_complete_part_needs_no_byte_more(url, weights_server, tmp_path) -> None:
    (tmp_path / "w.bin.part").write_bytes(CONTENT)
    download(url, tmp_path / "w.bin", DIGEST)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_part_of_another_version_is_thrown_away(url, weights_server, tmp_path) -> None:
    (tmp_path / "w.bin.part").write_bytes(b"x" * 5000)
    download(url, tmp_path / "w.bin", DIGEST)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert ranges(weights_server) == ["bytes=5000-", None]


def test_another_file_is_refused_and_leaves_nothing(url, tmp_path) -> None:
    with pytest.raises(ChecksumError, match=f"its SHA-256 is {DIGEST[:8]}, not 00000000"):
        download(url, tmp_path / "w.bin", "0" * 8)
    assert list(tmp_path.glob("w.bin*")) == []


@pytest.mark.parametrize("statuses", [[503], [429, 503, 500]])
def test_a_busy_server_is_asked_again(url, weights_server, tmp_path, statuses) -> None:
    weights_server.statuses = statuses
    download(url, tmp_path / "w.bin", DIGEST)
    assert (tmp_path / "w.bin").is_file()


def test_a_refusal_is_final(url, weights_server, tmp_path) -> None:
    weights_server.statuses = [403]
    with pytest.raises(DownloadError, match="HTTP 403"):
        download(url, tmp_path / "w.bin", DIGEST)
    assert len(weights_server.requests) == 1


def test_no_network_is_said_at_once(monkeypatch, tmp_path) -> None:
    calls = []

    def nowhere(*_args, **_kwargs):
        calls.append(1)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(module, "PAUSE_S", 60.0)
    with pytest.raises(DownloadError, match="Name or service not known"):
        download("http://weights.invalid/w.bin", tmp_path / "w.bin", DIGEST)
    assert len(calls) == 1


def test_a_token_stays_with_the_first_server(weights_server, tmp_path) -> None:
    weights_server.files["/cdn"] = CONTENT
    weights_server.redirects["/w.bin"] = f"http://localhost:{weights_server.server_address[1]}/cdn"
    headers = {"Authorization": "Bearer secret"}
    download(f"{weights_server.url}/w.bin", tmp_path / "w.bin", DIGEST, headers=headers)
    (_, first), (_, second) = weights_server.requests
    assert first["Authorization"] == "Bearer secret"
    assert "Authorization" not in second


def test_a_full_disk_is_not_a_matter_of_the_network(url, monkeypatch, tmp_path) -> None:
    def full(*_args):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(module, "_chunks", full)
    with pytest.raises(OSError, match="No space left"):
        download(url, tmp_path / "w.bin", DIGEST)
