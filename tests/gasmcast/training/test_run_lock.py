"""The lock of a run folder: one training at a time, and nothing stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gasmcast.errors import UsageError
from gasmcast.training.run_lock import LOCK, lock_folder

HOLDER = """
import os, sys, time
from pathlib import Path
from gasmcast.training.run_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    if len(sys.argv) > 2:
        ready, started = os.pipe()
        if os.fork() == 0:
            os.write(started, b".")
            time.sleep(60)  # a data worker that outlives its training
            os._exit(0)
        os.read(ready, 1)
    print("locked", flush=True)
    time.sleep(60)
"""


def start_holder(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *words],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "locked\n"
    return process


@pytest.mark.parametrize("words", [(), ("worker",)], ids=["alone", "with a worker"])
def test_another_process_is_refused_until_it_is_gone(tmp_path: Path, words: tuple[str]) -> None:
    holder = start_holder(tmp_path, *words)
    try:
        with (
            pytest.raises(UsageError, match=f"process {holder.pid} on .*another --out"),
            lock_folder(tmp_path),
        ):
            pass

        # Killed: the operating system gives the lock back, whatever the file says.
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with lock_folder(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(holder.pid, signal.SIGKILL)


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(UsageError, match="Another training writes"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass


def test_a_refused_training_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_folder(tmp_path / "run"):
        raise KeyError
    assert not (tmp_path / "run").exists()
