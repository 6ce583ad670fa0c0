from __future__ import annotations

import pytest

from gasmcast.commands.quantities import parse_count, parse_hours, parse_seconds
from gasmcast.errors import UsageError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_seconds, None, None),
        (parse_seconds, "150ms", 0.15),
        (parse_seconds, "0.15s", 0.15),
        (parse_seconds, "0.15", 0.15),
        (parse_count, None, None),
        (parse_count, "auto", "auto"),
        (parse_count, "3", 3),
        (parse_hours, None, None),
        (parse_hours, "90m", 5400.0),
        (parse_hours, "24h", 86400.0),
        (parse_hours, "7d", 604800.0),
    ],
)
def test_quantities(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "option", "texts"),
    [
        (parse_seconds, "--budget", ["", "soon", "1 m", "0", "-1s", "nan", "inf", "1e400"]),
        (parse_count, "--max-cameras", ["", "0", "-1", "1.5", "many", "²"]),
        (parse_hours, "--keep", ["", "0h", "24", "h", "1w", "-1h", "9999999h", "1.5h"]),
    ],
)
def test_what_is_none_is_named(parse, option, texts):
    for text in texts:
        with pytest.raises(UsageError, match=option):
            parse(text)
