"""Events as HTTP POSTs, signed, so that the receiver knows who sent them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Event, Record, RefusedError
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact, redact_tree

__all__ = ["SECRET_VARIABLE", "WebhookSink", "sign"]

SECRET_VARIABLE = "GASMCAST_WEBHOOK_SECRET"  # noqa: S105 - the name of it


def sign(secret: str, moment: str, body: bytes) -> str:
    """`sha256=` and the HMAC of `moment.body` in hex; the moment is in it so that a copy cannot be sent later."""
    return (
        "sha256="
        + hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the event, and its signature, to another host: it counts as an answer, not as an order."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - urllib's
        return None


class WebhookSink:
    """POSTs starts and ends of events as JSON, each with a time-out and up to three attempts.

    After those `write` raises, and the queue in front keeps the event and comes again later. A redirect or an answer of 400 to 499 (but
    408 and 429) says that no later attempt can help: the event is given up, logged and counted by the queue as `refused`.

    Headers: `X-Gasmcast-Event: start-<camera>-<number>-<milliseconds since 1970 when it was decided>`, the same at every attempt and never
    used again (numbers begin anew with each run and camera), so that the receiver can drop doubles; `X-Gasmcast-Timestamp`;
    `X-Gasmcast-Signature` (see `sign`) when there is a secret in the environment variable GASMCAST_WEBHOOK_SECRET.

    Raises:
        UsageError: not an http(s) URL.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        attempts: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = fill_secrets(url)
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                f"{redact(url)} is no address of a webhook.",
                "Write https://host/path; secrets go into ${NAME} or the header.",
            )
        self._where = f"{parts.hostname}{parts.path}"
        self._secret = os.environ.get(SECRET_VARIABLE, "")
        hide(self._secret)
        self._timeout_s, self._attempts, self._sleep, self._wall = timeout_s, attempts, sleep, wall
        self._opener = urllib.request.build_opener(_NoRedirect)

    @staticmethod
    def wants(record: Record) -> bool:
        """Starts and ends of events."""
        return isinstance(record, Event) and record.phase != "update"

    def write(self, record: Record) -> None:
        """Raises: MachineError when the receiver cannot take it now; RefusedError when it never will."""
        if not isinstance(record, Event) or record.phase == "update":
            return
        body = json.dumps(redact_tree(record.to_json()), ensure_ascii=False).encode()
        mark = f"{record.phase}-{record.camera}-{record.number}-{record.wall_s * 1000:.0f}"
        why = ""
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(0.2 * 2**attempt)
            why = self._post(body, mark)
            if not why:
                return
        raise MachineError(
            f"The webhook {self._where} does not take events ({why}).",
            "They wait and are sent again.",
        )

    def close(self) -> None:
        """Nothing is open between events."""

    def _post(self, body: bytes, mark: str) -> str:
        """Send once; the reason why it should be sent again, or nothing."""
        moment = str(int(self._wall()))
        headers = {
            "Content-Type": "application/json",
            "X-Gasmcast-Event": mark,
            "X-Gasmcast-Timestamp": moment,
        }
        if self._secret:
            headers["X-Gasmcast-Signature"] = sign(self._secret, moment, body)
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - scheme checked above
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code >= 500 or error.code in (408, 429):
                return f"status {error.code}"
            raise RefusedError(
                f"The webhook {self._where} refuses event {mark} for good (status {error.code})."
            ) from None
        except (OSError, HTTPException) as error:
            return redact(getattr(error, "reason", None) or type(error).__name__)
        return ""
