"""Remove passwords and tokens from text before anybody reads it.

Errors, log lines and statistics all pass through `redact`. It rather hides too much: a password may
itself contain `@`, `/` or `?`, so everything between a scheme and the last `@` of the word is
hidden, and so is every query string.
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
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A URL with a password, or with a token in its query, that is not a ${VARIABLE}.
_PLAIN_SECRET = re.compile(
    r"(?i)[a-z][a-z0-9+.-]*://"
    r"(?:[^/@]*:(?!\$\{)[^@]+@"
    r"|\S*[?&][^=&\s]*(?:pass|pwd|token|secret|key|auth)[^=&\s]*=(?!\$\{)[^&\s])"
)
_secrets: set[str] = set()
_lock = threading.Lock()


def hide(secret: str) -> None:
    """Hide this text from now on, as it is and percent-encoded.

    Texts of fewer than 3 characters are too common to be hidden.
    """
    if len(secret) >= 3:
        with _lock:
            _secrets.update((secret, quote(secret, safe=""), quote(secret)))


def redact(text: object) -> str:
    """Return `str(text)` without user names, passwords, query strings and hidden secrets."""
    shown = str(text)
    # The longest first, because one secret may contain another.
    with _lock:
        secrets = sorted(_secrets, key=len, reverse=True)
    for secret in secrets:
        shown = shown.replace(secret, _HIDDEN)

    shown = _USER.sub(rf"\1{_HIDDEN}@", shown)
    shown = _QUERY.sub(rf"\1{_HIDDEN}", shown)
    return _HEADER.sub(rf"\1{_HIDDEN}", shown)


def redact_tree(tree: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Return plain data (from `to_json`) with every text in it redacted.

    Must be applied before `json.dumps`, whose output has no spaces between texts.
    """
    if isinstance(tree, str):
        return redact(tree)
    if isinstance(tree, dict):
        return {key: redact_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [redact_tree(value) for value in tree]
    return tree


def fill_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace each `${NAME}` by the percent-encoded value of the variable, and hide the value.

    Args:
        text: a URL.
        environment: replaces `os.environ`.

    Raises:
        UsageError: a variable is not set.
    """
    values = os.environ if environment is None else environment

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        # An empty password is a mistake in the environment, not a password.
        if not values.get(name):
            raise UsageError(
                f"{redact(text)} needs the environment variable {name}, which is not set.",
                f"Set it: export {name}=...",
            )

        hide(values[name])
        return quote(values[name], safe="")

    return _VARIABLE.sub(value_of, text)


def warn_of_secret(text: str) -> None:
    """Log a warning if a URL on the command line contains a password or token in plain text."""
    if _PLAIN_SECRET.match(text):
        _log.warning(
            "%s: its password stands on the command line, where `ps` shows it; write ${NAME} and "
            "set NAME",
            redact(text),
        )


class RedactFilter(logging.Filter):
    """Logging filter that removes secrets from the message and the traceback of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; always return True."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            # Format the traceback here, or the handler would do so with the secrets in it.
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = redact(text)
            record.exc_info = None
        return True


def protect_logging() -> None:
    """Add a `RedactFilter` to every handler of the root logger and to Python's last resort."""
    handlers = list(logging.getLogger().handlers)
    if logging.lastResort:
        handlers.append(logging.lastResort)
    for handler in handlers:
        if not any(isinstance(known, RedactFilter) for known in handler.filters):
            handler.addFilter(RedactFilter())
