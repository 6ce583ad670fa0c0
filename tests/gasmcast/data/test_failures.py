"""The limit on clips that fail."""

import pytest

from gasmcast.data.failures import check_failures
from gasmcast.errors import SourceError


@pytest.mark.parametrize(
    ("failed", "total", "shown"),
    [
        (2, 199, r"\(clip0, clip1\), above 1%"),
        (7, 8, r"\(clip0, clip1, clip2, clip3, clip4, \.\.\.\), above 1%"),
    ],
)
def test_more_than_one_percent_is_an_error_that_names_the_first(failed, total, shown):
    names = [f"clip{i}" for i in range(failed)]
    with pytest.raises(SourceError, match=shown):
        check_failures(names, total, lambda text: SourceError(f"{text}."))


@pytest.mark.parametrize(("failed", "total"), [(0, 0), (0, 5), (1, 100), (2, 200)])
def test_one_percent_may_fail(failed, total):
    check_failures(["clip"] * failed, total, SourceError)
