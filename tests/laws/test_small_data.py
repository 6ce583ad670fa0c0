"""The recommended recipe works as shipped: from clips through training to a bundle that streams."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gasmcast
from gasmcast.config import load_config
from gasmcast.data.synthetic.clips import make_set

# Random weights, few pixels, one short epoch; every part of the recipe takes part.
SHORT = {
    "spec.pixels": 64,
    "spec.segments": 4,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.min_updates": 0,
    "train.stream_weight_folds": 2,
    "train.cache_views": 1,
    "train.warmup_epochs": 0,
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_small_data_trains_exports_and_streams(tmp_path) -> None:
    data, run, bundle = (tmp_path / name for name in ("data", "run", "small.gasm"))
    make_set(data, clips=75)
    train = data / "labels" / "train.json"
    train.write_text(json.dumps(json.loads(train.read_text())[:30]))  # Two of each class.
    trained = gasmcast.train(
        "small-data",
        data,
        run,
        settings=SHORT,
        semantic_weights="random",
        motion_weights="random",
        warn=lambda _: None,
    )
    assert trained.stream_weights is not None
    assert sum(trained.stream_weights) == pytest.approx(1)

    # Parity of the graphs is checked by the export itself; random features may fail the gate.
    exported = gasmcast.export(run, bundle, data=data, precisions=["int8"], measure=False)
    assert "fp32" in exported.manifest.precisions
    assert exported.report["parity"]

    # Its encoder and head run segment by segment; that they equal the model is the parity above.
    recognizer = gasmcast.load(bundle)
    video = next((data / "videos").glob("*.mp4"))
    decisions = recognizer(video).decisions
    assert decisions
    assert all(np.isfinite(decision.p) for decision in decisions)


def test_the_preset_needs_no_file_that_cannot_be_downloaded() -> None:
    model = load_config("small-data").model
    assert (model.semantic_weights, model.motion_weights) == ("pretrained", "pretrained")
    assert model.motion_backbone == "s3d"
