"""Precision and compilation, as far as a CPU goes: the same training, within what the numbers can hold."""

import functools

import pytest
import torch
from torch import nn

from gasmcast.labels import Labels
from gasmcast.training.loop import train
from gasmcast.training.resume.state_file import load_state

QUIET = {"model__dropout": 0.0, "model__drop_path": 0.0, "train__epochs": 1}


def _train(fake, folder, **settings):
    config = fake.tiny_config(**QUIET, **settings)
    validation = fake.FakeClips(config, 9, seed=1, augment=False)
    summary = train(config, fake.FakeClips(config), validation, Labels(fake.CLASSES), folder)
    return summary, load_state(folder).tensors


@pytest.fixture(scope="module")
def plain(fake, tmp_path_factory):
    return _train(fake, tmp_path_factory.mktemp("plain") / "run")


def _furthest(ours, theirs) -> float:
    """Largest distance of a weight, in learning rates: Adam moves each by about one an update."""
    names = [
        name for name in ours if name.startswith("weights/") and ours[name].is_floating_point()
    ]
    assert {name for name in theirs if name.startswith("weights/")} >= set(names)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in names) / 2e-3


def test_bf16_where_the_cpu_has_it(fake, plain, tmp_path, monkeypatch):
    """Torch rounds as bf16 does on any CPU; only the speed asks for the instructions."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    seen = []
    forward = nn.functional.linear
    monkeypatch.setattr(
        nn.functional,
        "linear",
        lambda *a, **k: (out := forward(*a, **k), seen.append(out.dtype))[0],
    )
    summary, state = _train(fake, tmp_path / "run", train__precision="bf16")
    assert torch.bfloat16 in seen
    assert all(
        state[name].dtype != torch.bfloat16 for name in state
    )  # weights and moments are kept in full
    assert summary["train_loss"] == pytest.approx(plain[0]["train_loss"], rel=0.02)
    assert summary["train_loss"] != plain[0]["train_loss"]
    assert (
        _furthest(plain[1], state) < 12
    )  # six updates, each at most a learning rate the other way


def test_bf16_where_the_cpu_has_it_not_is_fp32_and_says_so(
    fake, plain, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    summary, state = _train(fake, tmp_path / "run", train__precision="bf16")
    assert "no bf16 arithmetic: training in fp32" in capsys.readouterr().out
    assert summary["train_loss"] == plain[0]["train_loss"]
    assert _furthest(plain[1], state) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_step_is_the_eager_one(fake, plain, tmp_path, monkeypatch):
    """Traced and differentiated ahead of time as for a GPU, run by torch's own kernels: generating C++ here takes minutes."""
    backends = []
    compile_module = nn.Module.compile

    def compiled(self, **options):
        backends.append(type(self).__name__)
        return compile_module(self, backend="aot_eager", **options)

    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(compiled))
    summary, state = _train(fake, tmp_path / "run", train__compile=True)
    assert backends == ["Objective"]
    assert state.keys() == plain[1].keys()  # no name tells that it was compiled
    assert summary["train_loss"] == pytest.approx(plain[0]["train_loss"], rel=1e-4)
    assert _furthest(plain[1], state) < 0.05
