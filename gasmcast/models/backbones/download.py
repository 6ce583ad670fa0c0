"""Download a file over HTTP so that a broken download continues, and verify its checksum."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from gasmcast.files import sha256_of
from gasmcast.progress import Progress, silent

__all__ = ["ChecksumError", "DownloadError", "download", "open_url"]

CHUNK = 1 << 18
"""Bytes per read."""
TIMEOUT_S = 30.0
"""Longest silence of the server, in seconds."""
TRIES = 5
"""Failures in a row, each without a new byte, after which a download gives up."""
PAUSE_S = 1.0
"""Wait before another try, in seconds; it doubles with each failure in a row."""

_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(Exception):
    """Raised when a server cannot be reached, refuses, or breaks off again and again."""


class ChecksumError(DownloadError):
    """Raised when a complete download has another checksum than the published one."""


class _InterruptedError(DownloadError):
    """Raised when a connection breaks; another try may succeed."""


class _UnreachableError(_InterruptedError):
    """Raised when there is no connection: no network, no such host, nobody listens."""


def download(
    url: str,
    target: Path,
    sha256: str,
    *,
    headers: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> None:
    """Download `url` to `target`, or continue where an earlier download of it stopped.

    Bytes are kept in `TARGET.part` until the checksum was verified; `target` is always complete.

    Args:
        url: an HTTP or HTTPS address.
        target: the file to write; missing parent folders are created.
        sha256: the expected SHA-256 in hexadecimal, or its first digits.
        headers: sent to the first server only, not to one that it redirects to.
        progress: receives the bytes so far and in all.

    Raises:
        DownloadError: the server cannot be reached, refuses, or breaks off again and again.
        ChecksumError: the file is not the published one.
        OSError: the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    continued = part.is_file() and part.stat().st_size > 0
    _complete(url, part, headers or {}, progress)

    # A part of an earlier version of the file spoils the whole: start once more without it.
    if continued and not sha256_of(part).startswith(sha256):
        part.unlink()
        _complete(url, part, headers or {}, progress)

    # Nothing but the published bytes gets the final name.
    digest = sha256_of(part)
    if not digest.startswith(sha256):
        part.unlink()
        raise ChecksumError(
            f"its SHA-256 is {digest[: len(sha256)]}, not {sha256} as published: the server or a "
            "proxy sent another file"
        )
    part.replace(target)


def open_url(
    url: str, headers: Mapping[str, str], offset: int = 0
) -> http.client.HTTPResponse | None:
    """Open an address; None if the server has nothing after `offset`.

    Raises:
        DownloadError: the server cannot be reached or refuses.
    """
    # Headers of the user stay behind when the server redirects to another host.
    request = urllib.request.Request(url)  # noqa: S310 - the caller's address
    request.add_header("User-Agent", "gasmcast")
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    if offset:
        request.add_header("Range", f"bytes={offset}-")

    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310 - see above
            request, timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        kind = _InterruptedError if error.code in _TEMPORARY else DownloadError
        raise kind(f"HTTP {error.code} {error.reason} for {url}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _UnreachableError(f"{reason} for {url}") from None
    return response


def _complete(url: str, part: Path, headers: Mapping[str, str], progress: Progress) -> None:
    """Append to `part` until it is complete; try again while the connection breaks."""
    first = _size(part)
    failures = 0
    while True:
        before = _size(part)
        try:
            _append(url, part, headers, progress)
        except _InterruptedError as error:
            # Without a network fail at once; if it was lost during the download, wait and retry.
            if isinstance(error, _UnreachableError) and _size(part) == first:
                raise

            # Only failures in a row count: a bad line may break often and still get there.
            failures = 1 if _size(part) > before else failures + 1
            if failures >= TRIES:
                raise
            time.sleep(PAUSE_S * 2 ** (failures - 1))
        else:
            return


def _append(url: str, part: Path, headers: Mapping[str, str], progress: Progress) -> None:
    """Append what the server still has of the file.

    Raises:
        DownloadError: the server refuses, or the connection breaks.
    """
    offset = _size(part)
    response = open_url(url, headers, offset)
    if response is None:
        return  # Complete already; if it is not, its checksum is wrong.

    # An answer for another place in the file would spoil it.
    with response:
        place = _RANGE.match(response.headers.get("Content-Range", ""))
        if response.status != 206:
            offset = 0  # A server that does not know ranges sends everything.
        elif place is None or place.group(1) != str(offset):
            part.unlink(missing_ok=True)
            raise _InterruptedError(f"{url} answered with another range than the wanted one")
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else 0

        # Keep what was received even if the connection breaks: the next try starts there.
        with part.open("r+b" if offset else "wb") as stream:
            stream.seek(offset)
            done = offset
            for chunk in _chunks(response, url):
                stream.write(chunk)
                done += len(chunk)
                progress("downloading", done, total)

    if done < total:
        raise _InterruptedError(f"the connection broke off after {done} of {total} bytes of {url}")


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the body; turn errors of the network, but not of the disk, into a `DownloadError`."""
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(f"{str(error) or type(error).__name__} for {url}") from None
        if not chunk:
            return
        yield chunk


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0
