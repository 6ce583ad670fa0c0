"""Text from outside, made safe for a terminal and a log.

Labels of a bundle, names of files and answers of servers may hold escape sequences, which a
terminal would obey, and line breaks, which would forge a line of the log.
"""

from __future__ import annotations

import re

__all__ = ["printable"]

# C0 and C1 controls, line and paragraph separators, marks that reorder text, and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""Return `text` with every control character written out, such as `\x1b` for ESC.

    Args:
        text: any text, of any length.
        keep: characters that stay, such as line breaks where the text may have several lines.
    """

    def escape(match: re.Match[str]) -> str:
        character = match.group()
        if character in keep:
            return character
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSAFE.sub(escape, text)
