"""A student learns from a trained teacher: real clips, real training, a second start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gasmcast.data.synthetic.clips import make_set
from gasmcast.errors import SourceError, UsageError
from gasmcast.evaluation.predict import predict
from gasmcast.evaluation.teacher_opinion import TEACHER_FILE, read_opinion
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.tensorfile import read_tensors
from gasmcast.training.inputs.training_set import open_training_set
from tests.gasmcast.training.inputs.tiny_training import TINY, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teach") / "data"
    make_set(folder, clips=75)
    for name in ("train", "validation"):  # one clip of each class
        file = folder / "labels" / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text())[:15]))
    return folder


@pytest.fixture(scope="module")
def teacher(data: Path) -> Path:
    train(data, data.parent / "teacher")
    return data.parent / "teacher"


@pytest.fixture(scope="module")
def footage(data: Path) -> Path:
    folder = data.parent / "footage"
    (folder / "day one").mkdir(parents=True)
    for number, video in enumerate(sorted((data / "videos").iterdir())[:3]):
        shutil.copy(video, folder / "day one" / f"{number}.mp4")
    return folder


def test_a_student_learns_on_annotated_and_unlabelled_clips(
    data: Path, teacher: Path, footage: Path, tmp_path: Path
) -> None:
    plain = train(data, tmp_path / "plain")
    taught = train(data, tmp_path / "taught", teacher=teacher, unlabelled=footage)
    assert taught.training_clips == plain.training_clips + 3
    weights = [load_checkpoint(result.checkpoint)[0].state_dict() for result in (plain, taught)]
    assert any(not weights[0][name].equal(weights[1][name]) for name in weights[0])

    # A resumed run does not need the teacher any more.
    moved = teacher.rename(teacher.with_name("moved"))
    try:
        again = train(data, tmp_path / "taught", teacher=teacher, unlabelled=footage, resume=True)
    finally:
        moved.rename(teacher)
    assert again.best_epoch == taught.best_epoch


def test_what_is_stored_is_what_the_teacher_says(data: Path, teacher: Path, tmp_path: Path) -> None:
    opened = open_training_set(
        "demo", data, {**TINY, "train.teacher": str(teacher)}, run_folder=tmp_path
    )
    model = load_checkpoint(teacher)[0].eval()

    def classify(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(clips)).numpy()

    logits, _ = predict(classify, opened.clips.plain())
    tensors, _ = read_tensors(tmp_path / TEACHER_FILE)
    np.testing.assert_allclose(
        tensors["pooled"][: len(logits)].numpy(),
        torch.from_numpy(logits).softmax(1).numpy(),
        atol=1e-5,
    )

    # Validation clips are stored for exports; nothing is learned from them.
    assert opened.validation is not None
    logits, _ = predict(classify, opened.validation)
    ids = [sample.id for sample in opened.validation.samples]
    assert read_opinion(tmp_path) == dict(zip(ids, logits.argmax(1).tolist(), strict=True))
    assert opened.clip_targets is not None
    assert not set(ids) & set(opened.clip_targets.rows)
    assert read_opinion(tmp_path / "no student") == {}


def test_unlabelled_clips_that_do_not_decode_are_named(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "broken.mp4").write_bytes(b"no video")
    message = r"1 of 31 clips do not decode \(unlabelled/broken\.mp4\)"
    with pytest.raises(SourceError, match=message):
        train(data, tmp_path / "run", teacher=teacher, unlabelled=tmp_path / "footage")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.unlabelled": "somewhere"}, "need a teacher"),
        ({"train.teacher": "{teacher}", "augment.flip": True}, "not mirrored"),
        ({"train.teacher": "nowhere"}, "No checkpoint at nowhere"),
        ({"train.teacher": "{bundle}"}, "is a bundle"),
        ({"train.teacher": "{other}"}, "has 2 classes"),
        ({"train.teacher": "{teacher}", "spec.segments": 8}, "the student"),
        ({"train.teacher": "{teacher}", "train.unlabelled": "{bundle}"}, "holds no videos"),
    ],
)
def test_a_teacher_that_does_not_fit(
    data: Path, teacher: Path, tmp_path: Path, settings: dict, message: str
) -> None:
    places = {"{teacher}": teacher, "{bundle}": tmp_path / "b.gasm", "{other}": tmp_path / "other"}
    places["{bundle}"].mkdir()
    (places["{bundle}"] / "manifest.json").write_text("{}")
    if "{other}" in settings.values():
        _teacher_of_two_classes(teacher, places["{other}"])
    chosen = {k: str(places.get(v, v)) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(UsageError, match=message):
        train(data, tmp_path / "run", settings=chosen)


def _teacher_of_two_classes(teacher: Path, folder: Path) -> None:
    """Write a checkpoint whose model knows two classes."""
    from gasmcast.config import Config
    from gasmcast.labels import Labels
    from gasmcast.models.checkpoint import read_checkpoint, write_checkpoint, write_frozen
    from gasmcast.models.model import build_model

    config: Config = read_checkpoint(teacher / "best.safetensors")[0]
    config = config.model_copy(update={"model": config.model.model_copy(update={"classes": 2})})
    model = build_model(config)
    folder.mkdir()
    frozen = write_frozen(folder, model)
    write_checkpoint(
        folder / "best.safetensors",
        model.state_dict(),
        config,
        Labels(("up", "down")),
        frozen=frozen,
        info={},
    )
