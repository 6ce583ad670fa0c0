"""`gasmcast classify --ray`: a real local cluster, one worker of which is killed half-way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gasmcast.archive.ray_workers import RayWorkers
from gasmcast.errors import MachineError, UsageError

pytest.importorskip("ray")
pytest.importorskip("pyarrow")


def descendants(pid):
    """Yield all processes below one, with their command lines."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            line = Path(f"/proc/{child}/cmdline")
            if line.exists():
                yield int(child), line.read_text()
                yield from descendants(child)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_killed_worker_of_a_cluster_loses_nothing_and_repeats_nothing(
    tiny_archive, tiny_bundle, tmp_path, inputs_of
):
    out = tmp_path / "out"
    words = ["classify", str(tiny_archive), "--bundle", str(tiny_bundle), "--out", str(out)]
    run = subprocess.Popen(
        [sys.executable, "-m", "gasmcast", *words, "--json", "--ray", "local", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    # Half-way: some inputs are done, most are not.
    deadline = time.monotonic() + 200
    while len(list(out.glob("records/*/*.parquet"))) < 5:
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    workers = [pid for pid, line in descendants(run.pid) if line.startswith("ray::WorkerActor")]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)

    printed, errors = run.communicate(timeout=200)
    assert run.returncode == 0, errors
    assert json.loads(printed)["labeled"] == 40
    assert inputs_of(out) == {str(path): 1 for path in tiny_archive.glob("*.avi")}


def test_an_unreachable_cluster_is_a_clear_error_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(MachineError, match="cannot be reached"):
        RayWorkers(f"127.0.0.1:{port}", None, 1, cores=1)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("address", ["here", "host:", "host:x", "host:70000"])
def test_a_bad_address_is_refused(address):
    with pytest.raises(UsageError, match="no address of a Ray cluster"):
        RayWorkers(address, None, 1, cores=1)


def test_an_actor_refuses_another_version():
    from gasmcast.archive.ray_workers import WorkerActor

    with pytest.raises(UsageError, match=r"has gasmcast .*, this machine has 9\.9"):
        WorkerActor().start(lambda: None, "9.9")
