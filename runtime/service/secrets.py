"""Remove passwords and tokens from text before anybody reads it.

Texts that come from outside pass through `redact`: errors, log lines, notices, sources. It rather
hides too much: a password may itself contain `@`, `/` or `?`, so everything between a scheme and
the last `@` of the word is hidden, and so is every query string.

Data of our own never does: names, labels, kinds and times stay as they are even where a password
is one of these words. Hiding them would destroy the records, and tell a reader the password.
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
from gasmcast.terminal_text import printable

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
# A shorter secret is likely to be part of other words. In a URL it is hidden all the same.
_SHORTEST = 6
# Field whose text comes from outside, in a notice and in a mark of a recording.
_OUTSIDE = "text"
# All patterns match a bounded number of letters: time stays linear in the length of a text.
_WORD = re.compile(r"\S+")
_SCHEME = re.compile(r"[A-Za-z0-9+.-]:/{1,3}")
# A password may hold spaces where a source is mistyped; then it holds no slash.
_SPACED_LOGIN = re.compile(r"([A-Za-z0-9+.-]:/{1,3})[^/\s@]{0,200}:[^/@\r\n]{1,200}(?=@)")
_QUOTE = re.compile(r"['\"]")
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

    A text of fewer than 6 characters is hidden in URLs only, as it may be a part of other words.
    """
    if len(secret) >= _SHORTEST:
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

    shown = _SPACED_LOGIN.sub(rf"\1{_HIDDEN}", shown)
    shown = _WORD.sub(lambda word: _redact_word(word.group()), shown)
    return _HEADER.sub(rf"\1{_HIDDEN}", shown)


def redact_tree(tree: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Return plain data (from `to_json`) with the texts redacted that come from outside.

    Those are the values of `text`; all other values are data of our own. Must be applied before
    `json.dumps`, whose output has no spaces between texts.
    """
    if isinstance(tree, dict):
        fields = {}
        for key, value in tree.items():
            outside = key == _OUTSIDE and isinstance(value, str)
            fields[key] = redact(value) if outside else redact_tree(value)
        return fields
    if isinstance(tree, list | tuple):
        return [redact_tree(value) for value in tree]
    return tree


def _redact_word(word: str) -> str:
    """Return a word (letters without spaces) with the user, password and query of URLs hidden."""
    # User and password: from the scheme to the last @, because both may contain an @ themselves.
    # Without a scheme there must be a colon between them, or it is an e-mail address.
    last_at = word.rfind("@")
    scheme = _SCHEME.search(word, 0, last_at) if last_at > 0 else None
    if scheme is not None:
        word = f"{word[: scheme.end()]}{_HIDDEN}{word[last_at:]}"
    elif last_at > 0 and word.find(":", 0, last_at) > 0:
        word = f"{_HIDDEN}{word[last_at:]}"

    # Queries: from the question mark of a URL to the end of the word or of a quotation.
    parts = []
    start = 0
    while scheme := _SCHEME.search(word, start):
        mark = word.find("?", scheme.end())
        if mark < 0:
            break
        quote_mark = _QUOTE.search(word, mark)
        end = quote_mark.start() if quote_mark else len(word)
        parts.append(word[start : mark + 1])
        parts.append(_HIDDEN if end > mark + 1 else "")
        start = end
    return "".join([*parts, word[start:]])


def fill_secrets(text: str, environment: Mapping[str, str] | None = None, *, safe: str = "") -> str:
    """Replace each `${NAME}` by the percent-encoded value of the variable, and hide the value.

    Args:
        text: a URL.
        environment: replaces `os.environ`.
        safe: characters that are not percent-encoded, such as `/` in a path.

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
        return quote(values[name], safe=safe)

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
    """Logging filter that removes secrets and control characters from a record.

    It changes the message and the traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; always return True."""
        # A message is one line, so that a name with a line break cannot forge another.
        record.msg, record.args = printable(redact(record.getMessage())), None
        if record.exc_info:
            # Format the traceback here, or the handler would do so with the secrets in it.
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = printable(redact(text), keep="\n")
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
