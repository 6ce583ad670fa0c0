import errno
import os
import subprocess
import sys

import pytest
import torch

from gasmcast.errors import MachineError
from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors
from gasmcast.training.resume.state_file import (
    PREVIOUS,
    STATE,
    has_state,
    load_state,
    remove_drafts,
    save_state,
)


def _tensors(value: float) -> dict[str, torch.Tensor]:
    return {
        "weights/a": torch.full((64, 64), value),
        "random/0/torch": torch.get_rng_state(),
        "step": torch.tensor(value),
    }


def test_what_was_saved_comes_back(tmp_path):
    save_state(tmp_path, _tensors(1.0), {"progress": {"loss": 0.1 + 0.2}})
    state = load_state(tmp_path)
    assert state.tensors["weights/a"].equal(torch.full((64, 64), 1.0))
    assert state.record["progress"]["loss"] == 0.1 + 0.2
    assert state.damaged == ()


def test_nothing_saved(tmp_path):
    assert load_state(tmp_path) is None
    assert not has_state(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_torn_state_is_passed_over_for_the_one_before(tmp_path, damage):
    save_state(tmp_path, _tensors(1.0), {"n": 1})
    save_state(tmp_path, _tensors(2.0), {"n": 2})
    path = tmp_path / STATE
    content = bytearray(path.read_bytes())
    content = {
        "cut": content[: len(content) // 2],
        "altered": content[:-9] + b"\x01" + content[-8:],
        "empty": b"",
    }[damage]
    path.write_bytes(content)
    state = load_state(tmp_path)
    assert state.record["n"] == 1
    assert STATE in state.damaged[0]


def test_killed_between_the_two_renames(tmp_path):
    save_state(tmp_path, _tensors(1.0), {"n": 1})
    (tmp_path / STATE).replace(tmp_path / PREVIOUS)
    assert load_state(tmp_path).record["n"] == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_keeps_both_generations(tmp_path, monkeypatch, code):
    save_state(tmp_path, _tensors(1.0), {"n": 1})
    save_state(tmp_path, _tensors(2.0), {"n": 2})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left") as caught:
        save_state(tmp_path, _tensors(3.0), {"n": 3})
    assert "start again" in caught.value.hint  # a cache has no --resume
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_real_refused_write_is_told(tmp_path):
    """The kernel refuses the bytes; a limit on the size of files acts like a full disk."""
    code = f"""
import resource, signal
from pathlib import Path
import torch
from gasmcast.errors import MachineError
from gasmcast.training.resume.state_file import save_state
folder = Path({str(tmp_path)!r})
save_state(folder, {{"a": torch.zeros(10)}}, {{"n": 1}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    save_state(folder, {{"a": torch.zeros(1 << 20)}}, {{"n": 2}})
except MachineError as error:
    print("caught:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "caught: No space left" in done.stdout
    assert load_state(tmp_path).record["n"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [STATE]


def test_drafts_of_dead_processes_are_swept(tmp_path):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (tmp_path / f".state.fresh.{gone}.safetensors").write_bytes(b"half")
    (tmp_path / f".last.{os.getpid()}.safetensors").write_bytes(b"being written")
    remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".last.{os.getpid()}.safetensors"]


def test_a_weight_of_two_names_is_written_under_both(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    write_tensors(
        tmp_path / "a.safetensors", {"one": shared, "two": shared, "part": shared[:1]}, {}
    )
    tensors, _ = read_tensors(tmp_path / "a.safetensors")
    assert tensors["one"].equal(shared)
    assert tensors["two"].equal(shared)
    assert tensors["part"].equal(shared[:1])


def test_a_view_of_a_large_tensor_is_written_alone(tmp_path):
    large = torch.arange(1000.0)
    write_tensors(
        tmp_path / "a.safetensors",
        {"row": large[3:5], "turned": large[:6].view(2, 3).T},
        {"note": "x"},
    )
    tensors, texts = read_tensors(tmp_path / "a.safetensors")
    assert tensors["row"].tolist() == [3.0, 4.0]
    assert tensors["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert texts["note"] == "x"
    (tmp_path / "b.safetensors").write_text("no tensors")
    with pytest.raises(TornFileError):
        read_tensors(tmp_path / "b.safetensors")
