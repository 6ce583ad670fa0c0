"""Precision and compilation on a CPU: the same training, within the precision of the numbers."""

import functools
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import gasmcast
from gasmcast.labels import Labels
from gasmcast.training.distributed import Distributed
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
    """Return the largest distance of a weight, in learning rates.

    Adam moves each weight by about one learning rate per update.
    """
    names = [
        name for name in ours if name.startswith("weights/") and ours[name].is_floating_point()
    ]
    assert {name for name in theirs if name.startswith("weights/")} >= set(names)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in names) / 2e-3


def test_bf16_where_the_cpu_has_it(fake, plain, tmp_path, monkeypatch):
    """Torch rounds as bf16 does on any CPU; the instructions only make it faster."""
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
    # Weights and moments keep full precision.
    assert all(state[name].dtype != torch.bfloat16 for name in state)
    assert summary["train_loss"] == pytest.approx(plain[0]["train_loss"], rel=0.02)
    assert summary["train_loss"] != plain[0]["train_loss"]
    # Six updates, each at most a learning rate in the other direction.
    assert _furthest(plain[1], state) < 12


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
    """Trace and differentiate ahead of time as for a GPU, but run torch's kernels.

    Generating C++ here would take minutes.
    """
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


def test_one_process_agrees_with_itself():
    processes = Distributed()
    assert (processes.rank, processes.world, processes.is_main) == (0, 1, True)
    assert processes.sum([1.5, 2.0]) == [1.5, 2.0]
    assert processes.agree(15) == 15
    assert processes.gather("part") == ["part"]


def test_no_other_module_asks_for_rank_and_world_size():
    package = Path(gasmcast.__file__).parent
    asks = re.compile(
        r"WORLD_SIZE|\bRANK\b|dist(ributed)?\.(get_rank|get_world_size|all_|init_|is_)"
    )
    modules = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if asks.search(path.read_text(encoding="utf-8"))
    }
    assert modules == {"training/distributed.py"}
