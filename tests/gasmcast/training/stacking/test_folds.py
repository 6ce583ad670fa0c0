"""Parts of the small-data preset: fitted window, encoded features, stream weights from folds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gasmcast.config import TrainConfig
from gasmcast.errors import UsageError
from gasmcast.evaluation.predict import predict
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.model import build_model
from gasmcast.training.inputs.feature_caches import FeatureCaches, plan_caches
from gasmcast.training.inputs.fill import fill_caches
from gasmcast.training.inputs.fit import fit_epochs
from gasmcast.training.inputs.training_set import open_training_set
from gasmcast.training.loop import train
from gasmcast.training.stacking.clip_subset import ClipSubset
from gasmcast.training.stacking.fitted_config import crossfit_stream_weights
from gasmcast.training.stacking.stream_weights import pool_out_of_fold


def _video(path: Path, frames: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for _ in range(frames):
        writer.write(np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("clips", "world", "epochs"),
    [(203, 1, 30), (111, 1, 42), (50, 1, 84), (111, 2, 84), (8, 1, 250)],
)
def test_a_small_set_gets_the_epochs_that_its_updates_take(
    clips: int, world: int, epochs: int
) -> None:
    train = TrainConfig(epochs=30, batch_size=16, min_updates=250)
    assert fit_epochs(train, clips, world).epochs == epochs
    assert fit_epochs(train.model_copy(update={"min_updates": 0}), clips, world).epochs == 30


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "labels").mkdir(parents=True)
    (root / "videos").mkdir()
    (root / "labels" / "labels.json").write_text(json.dumps({"Up": "0", "Down": "1"}))
    for split, first, count in (("train", 0, 6), ("validation", 6, 2)):
        rows = [
            {"id": str(i), "template": ("Up", "Down")[i % 2], "label": "", "placeholders": []}
            for i in range(first, first + count)
        ]
        for row in rows:
            _video(root / "videos" / f"{row['id']}.mp4", 10, int(row["id"]))
        (root / "labels" / f"{split}.json").write_text(json.dumps(rows))
    return root


@pytest.fixture
def frozen(fake, tmp_path: Path) -> Path:
    """Write a preset with frozen backbones from files, whose features are encoded first."""
    import yaml

    tree = {section: dict(values) for section, values in fake.TINY.items()}
    del tree["model"]["classes"]
    torch.manual_seed(5)
    encoder = build_model(fake.tiny_config()).encoder
    for name, part in (("semantic", encoder.semantic.vit), ("motion", encoder.motion.net)):
        tensors = {key: value.contiguous() for key, value in part.state_dict().items()}
        if name == "semantic":
            tensors |= {
                f"norm.{key}": value for key, value in encoder.semantic.norm.state_dict().items()
            }
        save_file(tensors, tmp_path / f"{name}.safetensors")
        tree["model"][f"{name}_weights"] = str(tmp_path / f"{name}.safetensors")
    tree["model"]["freeze"] = True
    tree["train"] |= {"epochs": 2, "batch_size": 3, "cache_views": 2}
    path = tmp_path / "frozen.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_views_are_encoded_first_and_drawn_by_epoch(
    data: Path, frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_training_set(frozen, data, {}, run_folder=tmp_path / "run")
    assert (
        f"MB in {tmp_path / 'run' / 'features'}: 12 rows of 6 clips, 2 rows of 2 clips."
        in capsys.readouterr().err
    )
    assert isinstance(run.clips, FeatureDataset)
    assert run.clips.plan.views == 2
    assert isinstance(run.validation, FeatureDataset)
    assert run.validation.plan.views == 1
    seen = []
    for epoch in range(8):
        run.clips.set_epoch(epoch)
        seen.append(run.clips[0][0])
    first = run.clips.plain()[0][0]
    assert {torch.equal(row, first) for row in seen} == {
        True,
        False,
    }  # the evaluation's view and an augmented one
    shards = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "features").rglob("shard-*")
    }
    open_training_set(frozen, data, {}, run_folder=tmp_path / "run")
    assert " MB in " not in capsys.readouterr().err
    assert shards == {path: path.stat().st_mtime_ns for path in shards}  # encoded once


def _fill(
    source: Path, data: Path, settings: dict, caches: Path, *, views: int, dtype: str = "float16"
) -> FeatureCaches:
    opened = open_training_set(source, data, settings, preload=False)
    planned = plan_caches(opened.config, opened.samples(), caches, views=views, dtype=dtype)
    fill_caches(planned, opened.labels)
    return planned


def test_of_several_caches_that_fit_one_is_chosen_by_views_or_none(
    data: Path, frozen: Path, tmp_path: Path
) -> None:
    caches, from_file = tmp_path / "caches", {"train.cache_views": 0}
    with pytest.raises(UsageError, match="no cache of the train split"):
        open_training_set(frozen, data, from_file, cache=caches)
    names = {}
    for views, dtype in ((3, "float16"), (1, "float16"), (2, "float32")):
        filled = _fill(frozen, data, from_file, caches, views=views, dtype=dtype)
        names[views] = filled.parts["train"].plan.folder.name
        if len(names) == 1:
            for settings in (
                from_file,
                {"train.cache_views": 2},
            ):  # there is nothing to choose from
                run = open_training_set(frozen, data, settings, cache=caches)
                assert run.clips.plan.views == 3
                assert any(f"{names[3]} (views 3, float16)" in text for text in run.warnings)
    with pytest.raises(UsageError, match="3 caches that fit") as caught:
        open_training_set(frozen, data, from_file, cache=caches)
    assert all(name in caught.value.what for name in names.values())
    with pytest.raises(UsageError, match="3 caches that fit"):  # none has four views
        open_training_set(frozen, data, {"train.cache_views": 4}, cache=caches)
    for views in (1, 2, 3):
        run = open_training_set(frozen, data, {"train.cache_views": views}, cache=caches)
        assert (run.clips.plan.folder.name, run.clips.plan.views) == (names[views], views)
        assert any(names[views] in text for text in run.warnings)
    _fill(frozen, data, from_file, caches, views=2)
    with pytest.raises(UsageError, match="2 caches that fit"):
        open_training_set(frozen, data, {"train.cache_views": 2}, cache=caches)
    (caches / names[1] / "index.json").write_text("{")
    with pytest.raises(UsageError, match=r"index\.json is damaged"):
        open_training_set(frozen, data, from_file, cache=caches)


def test_a_resumed_run_needs_no_weight_files(data: Path, frozen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = open_training_set(frozen, data, {"train.epochs": 1}, run_folder=folder)
    train(run.config, run.clips, run.validation, run.labels, folder)
    before = load_checkpoint(folder / "last.safetensors")[0].encoder.motion.state_dict()
    for name in ("semantic", "motion"):
        (tmp_path / f"{name}.safetensors").unlink()
    with pytest.raises(UsageError):  # a fresh run does
        open_training_set(frozen, data, {}, run_folder=tmp_path / "other")
    again = open_training_set(frozen, data, {"train.epochs": 2}, run_folder=folder)
    summary = train(again.config, again.clips, again.validation, again.labels, folder, resume=True)
    assert summary["epochs"] == 2
    assert summary["stopped"] == ""
    after = load_checkpoint(folder / "last.safetensors")[0].encoder.motion.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_gate_is_fitted_on_folds_and_kept(fake, tmp_path: Path) -> None:
    config = fake.tiny_config(
        model__read_out="guarded", train__stream_weight_folds=2, train__epochs=1
    )
    clips, plain = fake.FakeClips(config, 12), fake.FakeClips(config, 12, augment=False)
    groups = [f"v{i // 3}" for i in range(12)]
    labels = Labels(fake.CLASSES)
    fitted = crossfit_stream_weights(
        config, clips, plain, groups=groups, labels=labels, folder=tmp_path
    )
    assert fitted.stopped == ""
    assert sum(fitted.config.model.stream_weights) == pytest.approx(1)
    assert (
        fitted.config.model_copy(update={"model": config.model}) == config
    )  # nothing else changed
    result = json.loads((tmp_path / "folds" / "stream_weights.json").read_text())
    assert result["clips"] == 12
    assert set(result["held_out_top1"]) == {"semantic", "motion", "fused"}
    assert 0 <= result["out_of_fold_top1"] == fitted.out_of_fold_top1 <= 1
    stamp = (tmp_path / "folds" / "fold0" / "last.safetensors").stat().st_mtime_ns
    again = crossfit_stream_weights(
        config, clips, plain, groups=groups, labels=labels, folder=tmp_path, resume=True
    )
    assert again == fitted
    assert (tmp_path / "folds" / "fold0" / "last.safetensors").stat().st_mtime_ns == stamp


def test_the_out_of_fold_figure_never_fits_on_the_clips_it_scores() -> None:
    truth = np.arange(12) % 3
    right, noise = 9.0 * np.eye(3)[truth], np.zeros((12, 3))

    # A read-out that is right in the first fold only: the other fold's weights do not know it.
    first, second = np.stack([right, noise]), np.stack([noise, right])

    def top1(parts: list[np.ndarray]) -> float:
        pooled = pool_out_of_fold(parts, [truth, truth])
        return float(np.mean([part.argmax(-1) == truth for part in pooled]))

    assert top1([first, first]) == 1.0
    misled = [np.stack([right, -right]), np.stack([-right, right])]
    assert top1(misled) < 0.5
    assert top1([first, second]) == 1.0  # equal weights in part


def test_a_held_out_clip_that_does_not_decode_does_not_speak_for_a_stream(fake) -> None:
    class Marked(fake.FakeClips):
        def __init__(self, *given, **named) -> None:
            super().__init__(*given, **named)
            self.failed = torch.zeros(len(self), dtype=torch.uint8)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
            self.failed[index] = index in (3, 5)
            return super().__getitem__(index)

    clips = Marked(fake.tiny_config(), 12, augment=False)
    rows, labels = predict(
        lambda batch: np.ones((len(batch), 3), np.float32),
        ClipSubset(clips, np.arange(3, 9)),
        batch_size=4,
    )
    assert labels.tolist() == [clips.labels[i] for i in (4, 6, 7, 8)]
    assert len(rows) == 4


def test_fewer_sources_than_folds_is_an_error(fake, tmp_path: Path) -> None:
    config = fake.tiny_config(
        model__read_out="guarded", train__stream_weight_folds=4, train__epochs=1
    )
    clips = fake.FakeClips(config, 6)
    with pytest.raises(UsageError, match="sources"):
        crossfit_stream_weights(
            config, clips, clips, groups=["a"] * 6, labels=Labels(fake.CLASSES), folder=tmp_path
        )
