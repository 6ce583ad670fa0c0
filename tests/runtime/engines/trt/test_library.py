from __future__ import annotations

import pytest

from gasmcast.missing import install_hint
from gasmcast.runtime.engines.trt.library import SUPPORTED_RANGE, is_supported


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("10.3", True),
        ("10.3.0.26", True),
        ("10.3rc1", True),
        ("11.0", True),
        ("11.4.0.106", True),
        ("10.2.1", False),
        ("9.9", False),
        ("12.0", False),
        ("12.0.1", False),
        ("", False),
        ("x", False),
    ],
)
def test_supported_versions(version: str, supported: bool) -> None:
    assert is_supported(version) == supported


def test_the_install_hint_names_the_supported_range() -> None:
    assert f"tensorrt{SUPPORTED_RANGE}" in install_hint("tensorrt")
