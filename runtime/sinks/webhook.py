"""Events as signed HTTP POSTs, so that the receiver can verify the sender."""

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
from urllib.parse import urlsplit

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Event, Record, RefusedError
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact, redact_tree

__all__ = ["SECRET_VARIABLE", "WebhookSink", "sign"]

SECRET_VARIABLE = "GASMCAST_WEBHOOK_SECRET"  # noqa: S105 - a name, not a secret


def sign(secret: str, moment: str, body: bytes) -> str:
    """Return `sha256=` and the hex HMAC of `moment.body`.

    The moment is part of it, so that a copy of the request cannot be sent again later.
    """
    message = moment.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects, which could carry an event and its signature to another host."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


class WebhookSink:
    """POSTs starts and ends of events as JSON, each with a timeout and up to three attempts.

    After those `write` raises, and the queue in front keeps the event and retries later. A redirect
    or a status of 400 to 499 (except 408 and 429) means that no retry can help: the queue drops the
    event, logs it and counts it as `refused`.

    Headers:

    - `X-Gasmcast-Event: start-<camera>-<number>-<milliseconds since 1970 of the decision>`, the
      same at every attempt and unique across runs, so that the receiver can drop duplicates;
    - `X-Gasmcast-Timestamp`;
    - `X-Gasmcast-Signature` (see `sign`), if the environment has GASMCAST_WEBHOOK_SECRET.

    Args:
        url: where to send; may contain `${NAME}`s.
        timeout_s: limit for one attempt.
        attempts: attempts per `write`.
        sleep: pauses between attempts.
        wall: seconds since 1970.

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

        # From the environment only: a flag would be visible in `ps`.
        self._secret = os.environ.get(SECRET_VARIABLE, "")
        hide(self._secret)
        self._timeout_s, self._attempts, self._sleep, self._wall = timeout_s, attempts, sleep, wall
        self._opener = urllib.request.build_opener(_NoRedirect)

    @staticmethod
    def wants(record: Record) -> bool:
        """Return whether a record is the start or end of an event."""
        return isinstance(record, Event) and record.phase != "update"

    def write(self, record: Record) -> None:
        """Send the start or end of an event; ignore any other record.

        Raises:
            MachineError: the receiver cannot take it now.
            RefusedError: the receiver will never take it.
        """
        if not isinstance(record, Event) or record.phase == "update":
            return

        # Labels and texts may repeat what a user wrote, so secrets are redacted here too.
        body = json.dumps(redact_tree(record.to_json()), ensure_ascii=False).encode()
        event_id = f"{record.phase}-{record.camera}-{record.number}-{record.wall_s * 1000:.0f}"

        # Short pauses only: the queue retries for as long as it takes.
        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(0.2 * 2**attempt)
            failure = self._post(body, event_id)
            if not failure:
                return

        raise MachineError(
            f"The webhook {self._where} does not take events ({failure}).",
            "They wait and are sent again.",
        )

    def close(self) -> None:
        """Do nothing: no connection is open between events."""

    def _post(self, body: bytes, event_id: str) -> str:
        """Send once; returns why it should be sent again, or an empty text."""
        # A receiver rejects requests that are too old.
        moment = str(int(self._wall()))
        headers = {
            "Content-Type": "application/json",
            "X-Gasmcast-Event": event_id,
            "X-Gasmcast-Timestamp": moment,
        }
        if self._secret:
            headers["X-Gasmcast-Signature"] = sign(self._secret, moment, body)

        # Only http and https: the scheme was checked in `__init__`.
        request = urllib.request.Request(  # noqa: S310 - as said above
            self._url, data=body, headers=headers, method="POST"
        )

        # An overloaded or restarting receiver is retried; any other refusal is final.
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code >= 500 or error.code in (408, 429):
                return f"status {error.code}"
            raise RefusedError(
                f"The webhook {self._where} refuses event {event_id} for good "
                f"(status {error.code})."
            ) from None
        except (OSError, HTTPException) as error:
            return redact(getattr(error, "reason", None) or type(error).__name__)
        return ""
