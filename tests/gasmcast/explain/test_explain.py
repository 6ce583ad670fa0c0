import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.config import load_config
from gasmcast.errors import UsageError
from gasmcast.explain.clip_report import explain_clip
from gasmcast.explain.faithfulness import measure_faithfulness
from gasmcast.explain.set_report import write_faithfulness
from gasmcast.explain.subject import open_bundle, open_checkpoint
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import frozen_names, write_checkpoint, write_frozen
from gasmcast.models.model import build_model

SETTINGS = {
    "model.classes": 3,
    "spec.segments": 2,
    "model.freeze": True,
    "model.layers": 2,
    "model.semantic_taps": [1, 3],
    "model.motion_taps": ["layer2", "layer4"],
}
NAMES = ["Pushing something from left to right", "Holding something", "Moving something up"]


def write_run(folder, settings=None):
    torch.manual_seed(0)
    config = load_config("demo", SETTINGS | (settings or {}))
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir(parents=True)
    frozen = write_frozen(folder, model)
    state = model.state_dict()
    trained = {name: state[name] for name in state.keys() - frozen_names(model)}
    write_checkpoint(
        folder / "best.safetensors", trained, config, Labels(NAMES), frozen=frozen, info={}
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "both")


def test_a_clip_becomes_a_page_a_video_and_pictures(run, moving_video, tmp_path):
    out = tmp_path / "why"
    report = explain_clip(open_checkpoint(run), moving_video, out, orders=2)
    facts = json.loads((out / "explain.json").read_text())
    assert facts["predicted"] in NAMES
    assert set(facts["streams"]) == {"semantic", "motion"}
    assert sum(facts["segment_attention"]) == pytest.approx(1)

    # The last depth is the model itself.
    assert len(facts["after_layers"]) == 2
    np.testing.assert_allclose(facts["after_layers"][-1], facts["probabilities"], atol=1e-4)
    assert not np.allclose(facts["after_layers"][0], facts["probabilities"], atol=1e-4)

    page = (out / "index.html").read_text()
    assert str(report.faithfulness) in page.replace("&#43;", "+")
    assert "http" not in page.replace("http://www.w3.org", "")
    names = {path.name for path in out.iterdir()}
    assert {"attention.mp4", "graph_edges.png", "read_out_semantic.png"} <= names
    assert {"semantic_from_motion_2.png", "motion_from_semantic_1.png"} <= names


def test_one_stream_without_graphs_shows_what_exists_and_says_the_rest(moving_video, tmp_path):
    settings = {"model.streams": "semantic", "model.graph_semantic": "none"}
    subject = open_checkpoint(write_run(tmp_path / "one", settings))
    explain_clip(subject, moving_video, tmp_path / "why", orders=2)
    page = (tmp_path / "why" / "index.html").read_text()
    assert "semantic stream alone" in page
    assert "no semantic graph" in page
    assert "motion graph of each layer" not in page
    pictures = sorted(path.name for path in (tmp_path / "why").glob("*.png"))
    assert pictures == ["frames.png", "read_out_semantic.png"]


def test_the_check_runs_on_a_set(run, tiny_set, tmp_path):
    subject = open_checkpoint(run)
    check = measure_faithfulness(subject, tiny_set, clips=8, orders=2)
    assert check.clips == 8
    low, high = check.deletion.interval
    assert low <= check.deletion.mean <= high
    assert bool(check) == (low > 0)

    # Random weights must not be called faithful in words while the figure says otherwise.
    write_faithfulness(check, subject, tiny_set, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert ("NOT faithful" in page) == (not check)


def test_features_are_probed_from_the_cache(run, tiny_set, tmp_path):
    pytest.importorskip("sklearn")
    from gasmcast.explain.feature_report import explain_features

    report = explain_features(run, tiny_set, tmp_path / "out", cache=tmp_path / "cache")
    assert report.cached
    assert list((tmp_path / "cache").glob("train-*/index.json"))
    taps = [probe.tap for probe in report.probes]
    assert taps == ["semantic block 1", "semantic block 3", "motion layer2", "motion layer4"]
    np.testing.assert_allclose(np.diag(report.cka), 1)
    assert report.sources is None
    assert "states no sources" in str(report)
    assert (tmp_path / "out" / "tokens_motion_layer4.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Nothing to explain"),
        (["a.mp4", "--faithful", "x", "--checkpoint", "r"], "Nothing to explain"),
        (["a.mp4"], "No model to explain"),
        (["a.mp4", "--checkpoint", "r", "--bundle", "b"], "No model to explain"),
        (["--features", "x", "--bundle", "b"], "does not give the features"),
    ],
)
def test_wrong_options_are_refused(words, message):
    result = CliRunner().invoke(app, ["explain", *words])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_a_bundle_without_attention_graphs_is_refused(tiny_bundle):
    with pytest.raises(UsageError, match="has no attention graphs") as error:
        open_bundle(tiny_bundle)
    assert "--attention" in str(error.value.hint)
