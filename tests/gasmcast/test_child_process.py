"""No verb leaves processes behind, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux' /proc")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


def children_of(parent: int) -> set[int]:
    """Return the descendants of a process that run."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(folder.name)] = int(fields[1])
    family = {parent}
    while more := {child for child, its in parents.items() if its in family} - family:
        family |= more
    return family - {parent}


def running(pids: set[int]) -> set[int]:
    alive = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            alive.add(pid)
    return alive


def wait_until(condition, seconds: float = 60.0):
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)
    return result


@pytest.fixture(autouse=True)
def as_in_the_foreground():
    """Tests that a shell runs in the background ignore SIGINT, and so would their processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end_and_check(words: list[str], number: signal.Signals, tmp_path: Path, least: int = 1) -> None:
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            words,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    family: set[int] = set()
    try:
        wait_until(lambda: len(children_of(process.pid)) >= least or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "errors").read_text()
        time.sleep(1.0)  # the children begin: they arrange their end first thing
        family = children_of(process.pid)
        os.kill(process.pid, number)
        process.wait(60)
        wait_until(lambda: not running(family), 20)
    finally:
        for pid in running(family | {process.pid}):
            os.kill(pid, signal.SIGKILL)


def verb(*words: str) -> list[str]:
    return [sys.executable, "-m", "gasmcast", *words]


@pytest.mark.parametrize("number", SIGNALS)
def test_bench_live(number, tiny_bundle, tmp_path):
    end_and_check(
        verb("bench", "live", "--bundle", str(tiny_bundle), "--no-naive", "--threads", "1"),
        number,
        tmp_path,
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_the_demo_with_the_verb_that_it_runs(number, tmp_path):
    end_and_check(verb("demo", str(tmp_path / "demo"), "--clips", "2000"), number, tmp_path)


@pytest.mark.parametrize("number", SIGNALS)
def test_processes_that_write_clips(number, tmp_path):
    script = (
        "from pathlib import Path\n"
        "from gasmcast.data.synthetic.clips import make_set\n"
        "if __name__ == '__main__':\n"
        "    make_set(Path('clips'), 4000, 0, workers=2)\n"
    )
    (tmp_path / "make.py").write_text(script)
    # Two workers and multiprocessing's resource tracker.
    end_and_check([sys.executable, "make.py"], number, tmp_path, least=2)


@pytest.mark.parametrize("number", SIGNALS)
def test_workers_that_decode_for_training(number, tmp_path):
    script = (
        "import time, torch\n"
        "from gasmcast.data.data_workers import start_worker\n"
        "class Slow(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 1000\n"
        "    def __getitem__(self, index): time.sleep(0.2); return index\n"
        "loader = torch.utils.data.DataLoader(\n"
        "    Slow(), num_workers=2, worker_init_fn=start_worker)\n"
        "for _ in loader: pass\n"
    )
    (tmp_path / "load.py").write_text(script)
    end_and_check([sys.executable, "load.py"], number, tmp_path, least=2)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_builder_of_an_engine(number, tmp_path):
    """A library that compiles for a minute in native code, holding the interpreter."""
    (tmp_path / "slow_trt.py").write_text("import ctypes\nctypes.PyDLL(None).sleep(60)\n")
    (tmp_path / "graph.onnx").write_bytes(b"")
    script = (
        "from gasmcast.runtime.engines.trt.build import build_plan\n"
        "from gasmcast.runtime.engines.trt.builder_process import BuildRequest\n"
        "build_plan(BuildRequest('graph.onnx', 'plan', ((1, 1, 1),), module='slow_trt'))\n"
    )
    (tmp_path / "build.py").write_text(script)
    end_and_check([sys.executable, "build.py"], number, tmp_path)


def test_a_process_without_such_a_parent_goes_on(monkeypatch):
    from gasmcast.child_process import child_environment, end_with_parent

    monkeypatch.delenv("GASMCAST_PARENT", raising=False)
    end_with_parent()
    assert child_environment()["GASMCAST_PARENT"] == str(os.getpid())
