"""Addresses of webhooks and brokers: checked at the start, and never shown with a secret."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from gasmcast.errors import UsageError
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact
from gasmcast.terminal_text import printable

__all__ = ["WebhookAddress", "parse_webhook", "shown_address", "split_address"]

_WHOLE_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# RFC 3986 allows no other character; `%` starts an escape.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_HOST = re.compile(r"[0-9a-f:.]+(%[\w.]+)?|[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_USER = re.compile(r".*@", re.DOTALL)


class WebhookAddress(NamedTuple):
    """Checked address of a webhook."""

    text: str
    """The URL, with its secrets."""
    host: str
    """Host and port, which may be shown."""


def shown_address(url: str) -> str:
    """Return the address as the user wrote it, without anything before an `@`, on one line.

    It may be malformed in any way, so no part of it is taken for granted.
    """
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        scheme, rest = "", url
    return printable(redact(scheme + slashes + _USER.sub("***@", rest)))


def split_address(url: str, filled: str, example: str) -> SplitResult:
    """Return the parts of an address whose secrets are filled in.

    Args:
        url: as the user wrote it, for the error.
        filled: the same with its secrets.
        example: a good address, for the error.

    Raises:
        UsageError: it is malformed.
    """
    problem = "it has a control character in it" if _CONTROL.search(filled) else ""
    parts = None
    # `urlsplit` quotes the host in its errors, and that is where a password can end up.
    try:
        parts = urlsplit(filled)
        host, port = parts.hostname or "", parts.port
        # Host names with other letters than ASCII are encoded by IDNA, which also limits labels.
        is_host = not host or _HOST.fullmatch(host.encode("idna").decode())
        if not problem and (not is_host or port == 0):
            problem = "its host or port is none"
    except ValueError:
        problem = problem or "it is malformed"

    if problem or parts is None:
        raise UsageError(f"{shown_address(url)} is not an address: {problem}.", f"Write {example}.")
    return parts


def parse_webhook(url: str) -> WebhookAddress:
    """Return the address of a webhook.

    Args:
        url: `http(s)://host/path`; may contain `${NAME}`s, or be one as a whole. In the path a
            value keeps its slashes.

    Raises:
        UsageError: not such an address, or a secret that is not set.
    """
    example = "https://host/path; secrets go into ${NAME}, whose quotes are single ones"
    filled = _fill_webhook(url)
    parts = split_address(url, filled, example)
    # HTTP sends it as it stands, and every event would be lost.
    if not _ALLOWED.fullmatch(filled):
        raise UsageError(
            f"{shown_address(url)} has a space or a letter that an address cannot have.",
            "Write a host as xn--..., and letters of a path percent-encoded, as %20 or %C3%BC.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise UsageError(f"{shown_address(url)} is no address of a webhook.", f"Write {example}.")
    return WebhookAddress(parts.geturl(), parts.netloc)


def _fill_webhook(url: str) -> str:
    # Slack and others hand out the whole address as a secret.
    whole = _WHOLE_VARIABLE.fullmatch(url)
    value = os.environ.get(whole.group(1), "") if whole else ""
    if value:
        hide(value)
        path = value.partition("://")[2].partition("/")[2]
        hide(path)
        return value

    # A secret of several path segments must not become one segment.
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not slash:
        return fill_secrets(url)
    return f"{fill_secrets(scheme)}://{fill_secrets(host)}/{fill_secrets(path, safe='/')}"
