"""What a run resumes from: its results are never overwritten, other states are one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.errors import GasmcastError, UsageError
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint, read_checkpoint
from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors
from gasmcast.training.loop import train
from gasmcast.training.resume.check import find_state
from gasmcast.training.resume.state_file import SavedState, load_state, save_state

KNOWN = ["config", "labels", "steps", "progress", "world", "groups", "set"]


@pytest.fixture(scope="module")
def finished(fake: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    resume(fake, folder, again=False)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def resume(fake: Any, folder: Path, *, again: bool = True) -> None:
    config = fake.tiny_config(train__epochs=1, train__ema=0.9)
    clips = fake.FakeClips(config, 8)
    train(config, clips, None, Labels(fake.CLASSES), folder, resume=again)


@pytest.mark.parametrize("left", ["best.safetensors", "last.safetensors"])
def test_results_without_states_are_never_overwritten(fake: Any, run: Path, left: str) -> None:
    for file in run.glob("*.safetensors"):
        file.rename(run / left) if file.name == "last.safetensors" else file.unlink()
    before = (run / left).read_bytes()
    for again in (True, False):
        with pytest.raises(UsageError, match=r"another --out"):
            resume(fake, run, again=again)
    assert (run / left).read_bytes() == before


def drop(part: str) -> Callable[[SavedState], None]:
    def change(state: SavedState) -> None:
        for name in [name for name in state.tensors if name.startswith(part)]:
            del state.tensors[name]

    return change


def set_record(**values: Any) -> Callable[[SavedState], None]:
    return lambda state: state.record.update(values)


def widen(state: SavedState) -> None:
    name = next(name for name in state.tensors if name.startswith("optimizer/") and "exp" in name)
    state.tensors[name] = torch.zeros(3, 3, 3)


def drop_one(state: SavedState) -> None:
    del state.tensors[next(name for name in state.tensors if name.startswith("weights/"))]


@pytest.mark.parametrize(
    "change",
    [
        drop("weights/"),
        drop_one,
        drop("optimizer/"),
        drop("random/"),
        widen,
        set_record(progress={}, steps=0),
        set_record(progress={"epoch": "one"}),
        set_record(progress={"epoch": float("nan")}),
        set_record(progress={"best_epoch": 7}),
        set_record(progress={"other": 7}),
        set_record(groups=[{}]),
        set_record(groups=[7]),
        set_record(config=[]),
        set_record(labels=None),
        set_record(world="1"),
    ],
)
def test_a_whole_state_of_another_kind_is_one_sentence(
    fake: Any, run: Path, change: Callable[[SavedState], None]
) -> None:
    state = load_state(run)
    assert state is not None
    change(state)
    save_state(run, state.tensors, state.record)
    with pytest.raises(TornFileError, match="not one of this program's runs") as caught:
        resume(fake, run)
    assert "\n" not in str(caught.value)


TREE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
fuzz = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzz
@given(changes=st.dictionaries(st.sampled_from(KNOWN), TREE, min_size=1))
def test_any_record_is_read_or_one_sentence(
    fake: Any, finished: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    record = read_tensors(finished / "state.safetensors")[1]["record"]
    text = json.dumps(json.loads(record) | changes)
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, {"record": text})
    said = ""
    try:
        config, labels = fake.tiny_config(train__epochs=1), Labels(fake.CLASSES)
        find_state(tmp_path, config, labels, "set", resume=True, report=lambda _: None)
    except GasmcastError as error:
        said = str(error)
    assert "\n" not in said


@fuzz
@given(
    name=st.sampled_from(["config", "labels", "info", "frozen_sha256", "format"]),
    tree=TREE,
    as_json=st.booleans(),
)
def test_any_header_of_a_checkpoint_is_read_or_one_sentence(
    finished: Path, tmp_path: Path, name: str, tree: Any, as_json: bool
) -> None:
    _, texts = read_tensors(finished / "last.safetensors")
    text = json.dumps(tree) if as_json else str(tree).encode(errors="replace").decode()
    path = tmp_path / "last.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, texts | {name: text})
    for read in (read_checkpoint, load_checkpoint):
        said = ""
        try:
            read(path)
        except GasmcastError as error:
            said = str(error)
        assert "\n" not in said
