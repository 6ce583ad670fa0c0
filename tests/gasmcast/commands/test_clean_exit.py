"""An export that is ended: a real process, a real signal, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gasmcast.commands.clean_exit import clean_end
from gasmcast.errors import EndedError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unwinds_and_says_so_in_one_sentence(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    removed = []

    def work() -> None:
        with clean_end("The work"):
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(
                    os.getpid(), number
                )  # a second one, while the first is being cleaned up after
                removed.append(True)

    with pytest.raises(EndedError, match=f"The work was ended by {number.name}") as caught:
        work()
    assert removed
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with clean_end("The work"):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_export_that_is_ended_leaves_no_draft(tmp_path: Path) -> None:
    out, scratch = tmp_path / "m.gasm", tmp_path / "scratch"
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "gasmcast",
        "export",
        "demo",
        "--random-weights",
        "--out",
        str(out),
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)}
    )
    deadline = time.monotonic() + 200
    while not any(p.suffix == ".draft" for p in tmp_path.iterdir()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.splitlines()[-1].startswith(
        "error: The export was ended by SIGTERM; no partial files are left."
    ), errors
    assert "Traceback" not in errors
    assert [p.name for p in tmp_path.iterdir()] == ["scratch"]
    assert not list(scratch.glob("gasmcast-*"))
