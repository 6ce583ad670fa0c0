from __future__ import annotations

import pytest

from gasmcast.commands.help_text import flow_paragraphs


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("", ""),
        ("Do it.", "Do it."),
        ("Do it\n    in two lines.\n    ", "Do it in two lines."),
        ("Do it.\n\n    One\n    two.\n\n    Three.\n    ", "Do it.\n\nOne two.\n\nThree."),
        (
            "Do it.\n\n    Examples:\n        a b\n\n        c\n    ",
            "Do it.\n\nExamples:\n    a b\n\n    c",
        ),
    ],
)
def test_paragraphs_flow_and_examples_keep_their_lines(docstring, text):
    assert flow_paragraphs(docstring) == text
