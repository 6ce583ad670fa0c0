"""Files that are no weights: one sentence each, nothing in them runs, no advice of torch's."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from gasmcast.errors import UsageError
from gasmcast.models.backbones.weight_files import read_weights


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def saved(tree: object) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors", ".bin"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty: a download that broke off"),
        (b"<!DOCTYPE html><html>404", "it is a web page"),
        (b"\n<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    ],
)
def test_a_download_that_is_not_the_file(
    tmp_path: Path, ending: str, content: bytes, says: str
) -> None:
    path = tmp_path / f"weights{ending}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), saved(Evil()), saved({"a": Evil()})])
def test_a_pickle_is_refused_without_the_advice_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pth").write_bytes(content)
    with pytest.raises(UsageError, match="other objects than tensors") as caught:
        read_weights(Path("weights.pth"))
    assert "weights_only" not in str(caught.value)
    assert not Path("executed").exists()


WHOLE = {
    ".pth": saved({"a": torch.ones(3), "b": torch.zeros(2, 2)}),
    ".safetensors": save({"a": torch.ones(3), "b": torch.zeros(2, 2)}),
}


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ending=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damaged_files_are_read_or_one_sentence(
    tmp_path: Path, ending: str, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[ending])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"weights{ending}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    said = ""
    try:
        read_weights(path)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
    assert "weights_only" not in said
