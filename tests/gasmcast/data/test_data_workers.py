"""Workers that die: the error is one sentence, wherever the death is noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gasmcast.data import data_workers
from gasmcast.data.data_workers import WorkerDiedError, iterate_loader


class Loader:
    """A loader whose second batch raises an error."""

    def __init__(self, error, workers=1):
        self.error, self.num_workers = error, workers

    def __iter__(self):
        yield "first"
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        ConnectionRefusedError(),
        EOFError(),
        FileNotFoundError("socket"),
    ],
)
def test_a_worker_that_dies_with_a_batch_still_to_fetch_is_one_sentence(error, monkeypatch):
    monkeypatch.setattr(data_workers, "_SIGNAL_WAIT_S", 0.0)
    batches = iterate_loader(Loader(error))
    assert next(batches) == "first"
    with pytest.raises(
        WorkerDiedError,
        match=r"^A data worker died \(DataLoader worker is gone: \w+\)\. Often memory",
    ):
        next(batches)


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (FileNotFoundError("clip.mp4"), 0),
        (FileNotFoundError("Caught FileNotFoundError.\nOriginal Traceback"), 1),
        (PermissionError(), 1),
    ],
)
def test_what_the_set_itself_lacks_is_no_death(error, workers):
    with pytest.raises(type(error)) as caught:
        list(iterate_loader(Loader(error, workers)))
    assert caught.value is error


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...",
        (
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback ...\n"
            "RuntimeError: unable to write to file </torch_1>: No space left on device (28)"
        ),
        "unable to allocate shared memory(shm) for file </torch_1> by a DataLoader worker",
    ],
)
def test_too_little_shared_memory_is_named(text):
    with pytest.raises(WorkerDiedError, match=r"/dev/shm.* MB free\. .*--shm-size") as caught:
        next(_first_error(text))
    assert "\n" not in str(caught.value)


def _first_error(text):
    batches = iterate_loader(Loader(RuntimeError(text)))
    next(batches)
    return batches


def test_the_last_line_of_a_worker_is_its_error():
    text = (
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent):\n"
        "  File\nRuntimeError: stack expects each tensor to be equal size"
    )
    with pytest.raises(WorkerDiedError, match="stack expects each tensor"):
        next(_first_error(text))


SHORT_OF_MEMORY = """
import sys, torch
from torch.utils.data import DataLoader, Dataset
from gasmcast.data.data_workers import iterate_loader, start_worker
from gasmcast.errors import GasmcastError

class Large(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        return torch.zeros(1 << 18)

loader = DataLoader(Large(), batch_size=4, num_workers=2, worker_init_fn=start_worker)
try:
    list(iterate_loader(loader))
except GasmcastError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_container_with_little_shared_memory(tmp_path):
    script = tmp_path / "short.py"
    script.write_text(SHORT_OF_MEMORY)
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    unshare = shutil.which("unshare")
    probe = [unshare or "", "-m", "sh", "-c", mount]
    if unshare is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system of its own")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = f'{mount} && exec "$@"'
    result = subprocess.run(
        [unshare, "-m", "sh", "-c", command, "-", sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (3, "")
    assert "/dev/shm" in result.stdout
