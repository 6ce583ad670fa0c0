import json
from dataclasses import replace

import cv2
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
from gasmcast.explain.subject import _exchange_cut, open_bundle, open_checkpoint
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import (
    frozen_names,
    load_checkpoint,
    write_checkpoint,
    write_frozen,
)
from gasmcast.models.model import build_model
from gasmcast.video.clip import read_clip

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

    # Every stream with and without the exchange, and the answer, which is that of the model.
    for title in ("only, exchange cut", "read-out, after the exchange"):
        assert f"semantic {title}" in page
        assert f"motion {title}" in page
    assert "fused: the answer" in page
    assert set(facts["streams_without_exchange"]) == {"semantic", "motion"}


def test_with_the_exchange_cut_no_stream_sees_the_other(run, moving_video):
    model, config, _, _ = load_checkpoint(run)
    clip = read_clip(moving_video, config.spec, 2.0)
    found = open_checkpoint(run).explain(clip)
    with torch.inference_mode():
        features = model.encode(torch.from_numpy(clip[None]))
        for name in ("semantic", "motion"):
            other = "motion" if name == "semantic" else "semantic"
            noise = torch.randn_like(getattr(features, other))
            changed = features._replace(**{other: noise})

            # As it is the read-out depends on the other stream, and with the cut not at all.
            scores = model.head(changed).scores[name][0].numpy()
            assert not np.allclose(scores, found.streams[name], atol=1e-4)
            with _exchange_cut(model):
                scores = model.head(changed).scores[name][0].numpy()
            np.testing.assert_allclose(scores, found.cut[name], atol=1e-5)
            assert not np.allclose(found.cut[name], found.streams[name], atol=1e-4)

        # The cut leaves the model as it was.
        scores = model.head(features).scores
        np.testing.assert_allclose(scores["motion"][0], found.streams["motion"], atol=1e-5)


def test_the_read_outs_of_a_guarded_model_are_independent(moving_video, tmp_path):
    subject = open_checkpoint(write_run(tmp_path / "run", {"model.read_out": "guarded"}))
    explain_clip(subject, moving_video, tmp_path / "why", orders=2)
    page = (tmp_path / "why" / "index.html").read_text()
    for title in ("semantic only", "motion only", "fused read-out", "the answer"):
        assert f"{title}</th>" in page
    assert "exchange cut" not in page
    assert "after the exchange" not in page


def test_playing_backwards_and_shuffling_reach_the_model(run, moving_video, tmp_path):
    def goes_right(clips):
        """Return logits by how much farther right the bright square is in the later half."""
        green = clips[:, 1:, ..., 1].astype(np.float64)
        frames = green.reshape(len(clips), -1, *green.shape[3:])  # (B, S F, H, W)
        bright = (frames > 120).sum(2)
        x = (bright * np.arange(bright.shape[-1])).sum(-1) / np.maximum(bright.sum(-1), 1)
        early, late = np.array_split(x, 2, axis=1)
        shift = late.mean(1) - early.mean(1)
        return np.stack([shift, -shift, np.full(len(clips), -99.0)], 1).astype(np.float32)

    subject = replace(open_checkpoint(run), logits=goes_right)
    report = explain_clip(subject, moving_video, tmp_path, orders=2)
    assert report.whole[0] > 0.9
    assert report.reversed[0] == pytest.approx(report.whole[1], abs=1e-6)
    assert report.reversed[0] < report.shuffled[0] < report.whole[0]


def test_a_bundle_is_explained_by_the_command(attention_folder, moving_video, tmp_path):
    words = [moving_video, "--bundle", attention_folder, "--out", tmp_path, "--orders", 2]
    result = CliRunner().invoke(app, ["explain", *map(str, words)])
    assert result.exit_code == 0, result.output
    assert "its exchange cannot be cut" in result.stderr
    facts = json.loads((tmp_path / "explain.json").read_text())
    assert facts["predicted"] in "abc"
    assert facts["after_layers"] == []
    assert facts["streams_without_exchange"] == {}
    page = (tmp_path / "index.html").read_text()
    assert "read-out, after the exchange" in page
    assert "only, exchange cut" not in page

    # Frame by frame of the window, beside each a panel for every read-out.
    spec = open_bundle(attention_folder).spec
    frames = read_video(tmp_path / "attention.mp4")
    assert len(frames) == spec.segments * spec.motion_frames
    height, width = frames[0].shape[:2]
    assert width > 2.9 * height
    assert all(frame.std() > 1 for frame in frames)
    assert not np.array_equal(frames[0], frames[-1])


def read_video(path):
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    return frames


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
