"""A real server process with the tiny bundle."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="session")
def serving(tiny_bundle):
    """Return a context manager: a server with some options, as `(address, process)`.

    `patch` is Python code that runs before, to shorten a time limit.
    """
    pytest.importorskip("starlette")

    @contextmanager
    def start(*words, patch=""):
        code = f"{patch}\nfrom gasmcast.cli import main\nmain()"
        command = [sys.executable, "-c", code, "serve", str(tiny_bundle), "--threads", "1"]
        process = subprocess.Popen(
            [*command, "--http", "127.0.0.1:0", *words], stderr=subprocess.PIPE, text=True
        )
        try:
            address = None
            for line in process.stderr:
                if match := re.search(r"at http://([\d.:]+)", line):
                    address = match[1]
                    break
            assert address, f"the server ended with {process.wait()}"
            yield address, process
        finally:
            process.kill()
            process.communicate()

    return start


@pytest.fixture(scope="module")
def server(serving):
    with serving("--max-sequences", "3") as (address, _):
        yield address


@pytest.fixture
def client(server):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(server, concurrency=4) as opened:
        yield opened
