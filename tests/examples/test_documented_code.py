"""The code of the page "From Python" and of the docstrings of the public API runs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import gasmcast
from gasmcast.api.export import export

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))

STAND_INS = {
    '["0", "rtsp://camera/stream"]': '["clip.mp4"]',
    'gasmcast.train("small-data", "myset", "runs/mine")': (
        'gasmcast.train("demo", "myset", "runs/new", settings={"train.epochs": 3})'
    ),
    '"train.epochs": 3': '"train.epochs": 1, "train.workers": 0',
    ', precisions=["int8"]': "",
    "my_frames()": "[(rgb, s) for s, rgb in gasmcast.video.reader.read_frames('clip.mp4')]",
}
"""Stand-ins, in this order, for cameras, pretrained weights, a capture loop, and time: three epochs
and INT8 have tests of their own."""

PREPARE = """
import warnings
import gasmcast
import gasmcast.video.reader
warnings.simplefilter("ignore")  # the backbones of the preset start from random weights
"""
LOAD = 'recognizer = gasmcast.load("demo.gasm")\n'


def runnable(code: str) -> str:
    """Return the code with stand-ins for what the machine of a test has not."""
    for written, stand_in in STAND_INS.items():
        code = code.replace(written, stand_in)
    return PREPARE + code


def examples_of(documented: object) -> str:
    """Return the code of the examples of a docstring."""
    examples = doctest.DocTestParser().get_examples(documented.__doc__ or "")
    return "".join(example.source for example in examples)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_blocks_of_the_page_run(run_python, trained, number):
    run_python("-c", runnable(BLOCKS[number]), cwd=trained.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function", [gasmcast.load, gasmcast.live, gasmcast.evaluate, gasmcast.train, export]
)
def test_examples_of_the_functions_run(run_python, trained, function):
    code = examples_of(function)
    assert code
    run_python("-c", runnable(code), cwd=trained.folder)


@pytest.mark.slow
def test_the_example_of_the_frame_stream_runs(run_python, trained):
    code = examples_of(gasmcast.Recognizer.stream)
    assert code
    run_python("-c", runnable(LOAD + code), cwd=trained.folder)
