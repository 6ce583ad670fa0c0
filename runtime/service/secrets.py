"""Secrets stay secret: the one place that takes passwords out of text before anybody reads it.

Errors, log lines and statistics all pass through `redact`. It prefers hiding too much: a password may itself hold
`@`, `/` or `?`, so everything between a scheme and the last `@` of the word goes, and so does every query string.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gasmcast.errors import UsageError

__all__ = [
    "RedactFilter",
    "fill_secrets",
    "hide",
    "protect_logging",
    "redact",
    "redact_tree",
    "warn_of_secret",
]

_log = logging.getLogger(__name__)
_HIDDEN = "***"
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s?]*\?)[^\s'\"]+")
_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization:\s*)[^\r\n]+")
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WRITTEN_OUT = re.compile(
    r"(?i)[a-z][a-z0-9+.-]*://(?:[^/@]*:(?!\$\{)[^@]+@|\S*[?&][^=&\s]*(?:pass|pwd|token|secret|key|auth)[^=&\s]*=(?!\$\{)[^&\s])"
)
_secrets: set[str] = set()
_lock = threading.Lock()


def hide(secret: str) -> None:
    """Never show this text again, neither as it is nor percent-encoded. Fewer than 3 letters are too common to hide."""
    if len(secret) >= 3:
        with _lock:
            _secrets.update((secret, quote(secret, safe=""), quote(secret)))


def redact(text: object) -> str:
    """`str(text)` without user names, passwords, query strings and every secret that was told to `hide`."""
    shown = str(text)
    with _lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        shown = shown.replace(secret, _HIDDEN)
    shown = _USER.sub(rf"\1{_HIDDEN}@", shown)
    shown = _QUERY.sub(rf"\1{_HIDDEN}", shown)
    return _HEADER.sub(rf"\1{_HIDDEN}", shown)


def redact_tree(tree: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Plain data (of `to_json`) with every text in it redacted; to be done before `json.dumps`, which would join texts to one word."""
    if isinstance(tree, str):
        return redact(tree)
    if isinstance(tree, dict):
        return {key: redact_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [redact_tree(value) for value in tree]
    return tree


def fill_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace `${NAME}` by the environment's value, percent-encoded as a URL needs it, and hide that value from now on.

    Raises:
        UsageError: a variable that is not set.
    """
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not values.get(name):
            raise UsageError(
                f"{redact(text)} needs the environment variable {name}, which is not set.",
                f"Set it: export {name}=...",
            )
        hide(values[name])
        return quote(values[name], safe="")

    return _NAME.sub(value, text)


def warn_of_secret(text: str) -> None:
    """Log a warning where a URL of the command line has its password or token written out."""
    if _WRITTEN_OUT.match(text):
        _log.warning(
            "%s: its password stands on the command line, where `ps` shows it; write ${NAME} and set NAME",
            redact(text),
        )


class RedactFilter(logging.Filter):
    """Takes secrets out of a log record: its message, and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True; the record is changed in place."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(
                record.exc_text or logging.Formatter().formatException(record.exc_info)
            )
            record.exc_info = None
        return True


def protect_logging() -> None:
    """Put a `RedactFilter` on every handler of the root logger, and on the one Python uses when there is none."""
    handlers = [
        *logging.getLogger().handlers,
        *([logging.lastResort] if logging.lastResort else []),
    ]
    for handler in handlers:
        if not any(isinstance(known, RedactFilter) for known in handler.filters):
            handler.addFilter(RedactFilter())
