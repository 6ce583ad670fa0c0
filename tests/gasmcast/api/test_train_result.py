"""`gasmcast.api.train`: the verb as a function."""

import json

import pytest
import yaml

from gasmcast.api.train import TrainResult, train
from gasmcast.errors import UsageError
from gasmcast.models.checkpoint import load_checkpoint


@pytest.fixture
def preset(fake, tmp_path):
    tree = {section: dict(values) for section, values in fake.TINY.items()}
    del tree["model"]["classes"]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_train_returns_what_the_verb_prints(preset, tiny_set, tmp_path):
    sentences, warnings = [], []
    result = train(
        preset,
        tiny_set,
        str(tmp_path / "run"),
        settings={"train.epochs": 1},
        motion_weights="random",
        progress=lambda stage, done=0, total=0: sentences.append(stage),
        warn=warnings.append,
    )
    assert result
    assert sentences == [
        f"{tiny_set}: format ssv2.",
        "18 training clips, 12 validation clips, 3 classes.",
    ]
    assert (result.training_clips, result.validation_clips, result.classes) == (18, 12, 3)
    assert result.best_epoch == 1
    assert result.checkpoint == tmp_path / "run" / "best.safetensors"
    assert result.metrics["top1"] == load_checkpoint(result.checkpoint)[3]["metrics"]["top1"]
    assert list(result.warnings) == warnings
    assert any("RANDOM" in text for text in warnings)
    assert json.loads(json.dumps(result.to_json()))["best_epoch"] == 1
    assert str(result).startswith("Best epoch 1: top-1 ")


def test_a_stopped_run_is_false():
    counts = {"classes": 2, "training_clips": 4, "validation_clips": 0}
    result = TrainResult(
        checkpoint=None,
        stopped="SIGTERM",
        best_epoch=None,
        metrics={},
        warnings=(),
        stream_weights=None,
        **counts,
    )
    assert not result
    assert result.to_json()["stopped"] == "SIGTERM"


@pytest.mark.parametrize(("clips", "is_small"), [(15, True), (999, True), (24_777, False)])
def test_the_best_epoch_on_few_clips_is_told_as_chosen_on_them(clips, is_small):
    result = TrainResult(
        checkpoint=None,
        stopped=None,
        best_epoch=12,
        metrics={"top1": 0.8, "top5": 1.0},
        warnings=(),
        stream_weights=None,
        out_of_fold_top1=0.712,
        classes=3,
        training_clips=120,
        validation_clips=clips,
    )
    text = str(result)
    assert (f"chosen on the {clips} clips that it is measured on" in text) == is_small
    assert "Out of fold, on 120 training clips" in text
    assert "top-1 71.2 %" in text
    assert result.to_json()["out_of_fold_top1"] == 0.712


def test_wrong_settings_are_usage_errors(preset, tiny_set, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'epochs'"):
        train(preset, tiny_set, tmp_path / "run", settings={"train.epoch": 1})
    assert not (tmp_path / "run").exists()
