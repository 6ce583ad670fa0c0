"""From a folder of videos to figures, with the commands."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import GasmcastError, MachineError, UsageError
from gasmcast.tensorfile import TornFileError

CLASSES = ("Holding something", "Moving something down", "Moving something up")


def _video(path: Path, label: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 8.0, (64, 48))
    still = int(rng.integers(4, 36))
    for frame in range(12):
        picture = np.full((48, 64, 3), 30, np.uint8)
        top = (still, 4 + 3 * frame, 37 - 3 * frame)[label]
        picture[top : top + 8, 20:44] = 220
        writer.write(picture)
    writer.release()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Return nine training and six validation clips of three classes, two of them reversals."""
    root = tmp_path_factory.mktemp("data")
    (root / "labels").mkdir()
    (root / "videos").mkdir()
    (root / "labels" / "labels.json").write_text(
        json.dumps({name: str(i) for i, name in enumerate(CLASSES)})
    )
    number = 0
    for split, count in (("train", 9), ("validation", 6)):
        rows = []
        for i in range(count):
            number += 1
            _video(root / "videos" / f"{number}.mp4", i % 3, number)
            rows.append(
                {"id": str(number), "template": CLASSES[i % 3], "label": "", "placeholders": []}
            )
        (root / "labels" / f"{split}.json").write_text(json.dumps(rows))
    return root


@pytest.fixture(scope="module")
def preset(fake, tmp_path_factory) -> Path:
    """Write the tiny configuration as a file; the data set decides the number of classes."""
    tree = {section: dict(values) for section, values in fake.TINY.items()}
    del tree["model"]["classes"]
    tree["train"] |= {"epochs": 1, "batch_size": 3, "workers": 0}
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _call(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def run(data, preset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    output = _call("train", preset, "--data", data, "--out", folder, "--set", "train.lr=1e-3")
    assert "9 training clips, 6 validation clips, 3 classes" in output
    assert "RANDOM" in output
    assert f"gasmcast eval {folder}" in output
    return folder


def test_a_run_folder_has_what_people_expect(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "best.safetensors", "last.safetensors", "frozen.safetensors", "state.safetensors",
        "config.yaml", "environment.json",
        "metrics.csv", "curves.png", "summary.json", "tensorboard",
    }  # fmt: skip
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["lr"] == 1e-3
    assert json.loads((run / "environment.json").read_text())[0]["packages"]["torch"]
    assert list((run / "tensorboard").iterdir())


def test_eval_prints_and_keeps_the_figures(run, data, tmp_path):
    output = _call(
        "eval",
        run,
        "--data",
        data,
        "--reversed",
        "--shuffled",
        "--workers",
        0,
        "--analyze",
        tmp_path / "errors",
    )
    for figure in ("top-1", "top-5", "mean-class", "ECE", "backwards", "shuffled"):
        assert figure in output
    assert {"confusion.png", "reliability.png", "scores.json", "predictions.npz"} <= {
        path.name for path in (run / "eval").iterdir()
    }
    from gasmcast.export.source import open_source

    assert 0.05 <= open_source(str(run)).temperature <= 20
    assert open_source(str(run / "last.safetensors")).temperature is None  # it was not evaluated
    page = (tmp_path / "errors" / "index.html").read_text()
    assert page.count('<svg role="img"') == 2
    assert not re.search(r"(src|href)=['\"](?!data:|#)", page)
    assert "Accuracy by motion" in page
    assert "Accuracy by clip length" in page

    # The report of the run has the same analysis, and the curves.
    _call("report", run, "--out", tmp_path / "run.html")
    report = (tmp_path / "run.html").read_text()
    for heading in ("Training", "Does order in time matter?", "Accuracy by motion", "Settings"):
        assert f"<h2>{heading}</h2>" in report
    assert report.count('<svg role="img"') >= 5


def test_the_analysis_shows_what_went_wrong(data, tmp_path):
    """A classifier predicts the same class always: two of three are wrong, and are shown."""
    from gasmcast.evaluation.classifier import Classifier
    from gasmcast.evaluation.evaluation import evaluate_split
    from gasmcast.evaluation.evaluation_page import write_analysis
    from gasmcast.evaluation.predictions import predictions_of
    from gasmcast.labels import Labels
    from gasmcast.spec import ClipSpec

    def always_down(clips):
        return np.tile(np.array([0.0, 2.0, 1.0], np.float32), (len(clips), 1))

    spec = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)
    exam = evaluate_split(Classifier("stub", always_down, spec, Labels(CLASSES), None), data)
    page = write_analysis(exam, predictions_of(exam, data, "validation"), tmp_path).read_text()
    pairs, _, worst = page.partition("<h2>Most confused pairs</h2>")[2].partition(
        "<h2>Worst clips</h2>"
    )
    holding, up = (f"{CLASSES[i]}</b>" not in worst for i in (0, 2))  # nothing is taken for these
    assert holding
    assert up
    for first, second in ((0, 1), (1, 2)):
        assert re.search(
            rf"<h3>({CLASSES[first]} / {CLASSES[second]}|{CLASSES[second]} / {CLASSES[first]}) ",
            pairs,
        )
    wrong = [name for name, label in zip(exam.ids, exam.labels, strict=True) if label != 1]
    assert len(wrong) == 4
    for part in (pairs, worst):
        assert part.count("data:image/jpeg;base64,") == 4
        for name in wrong:
            assert f"<b>{name}</b>: " in part
        assert f"taken for <b>{CLASSES[1]}</b>" in part
    right = next(name for name in exam.ids if name not in wrong)
    assert f"<b>{right}</b>" not in page


def test_frames_are_shuffled_alike_whatever_the_batch(run, data, monkeypatch):
    from gasmcast.evaluation import evaluation as module
    from gasmcast.evaluation.classifier import open_classifier

    seen = []
    monkeypatch.setattr(module, "score_shuffled", lambda _, shuffled, *rest: seen.append(shuffled))
    for size in (1, 4):
        module.evaluate_split(open_classifier(run), data, shuffled=True, batch_size=size)
    assert np.allclose(*seen, atol=1e-5)


def test_eval_as_json_with_views(run, data, tmp_path):
    found = json.loads(
        _call(
            "eval",
            run,
            "--data",
            data,
            "--views",
            "2x3",
            "--json",
            "--workers",
            0,
            "--out",
            tmp_path,
        )
    )
    assert found["clips"] == 6
    assert 0 <= found["top1_interval"][0] <= found["top1"] <= found["top1_interval"][1] <= 1
    assert len(found["classes"]) == 3


def test_a_checkpoint_loads_without_any_weights_elsewhere(run):
    import torch

    from gasmcast.models.checkpoint import load_checkpoint

    model, config, labels, info = load_checkpoint(run)
    assert labels.names == CLASSES
    assert config.model.classes == 3
    assert info["epoch"] >= 0
    assert not model.training
    clip = torch.zeros((2, *config.spec.clip_shape), dtype=torch.uint8)
    assert model(clip).shape == (2, 3)


def test_runs_lists_them(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    rows = json.loads(_call("runs", run.parent, "--json"))
    assert [row["run"] for row in rows] == ["one"]
    assert rows[0]["finished"]
    assert rows[0]["trainable"] > 0
    shown = _call("runs", run.parent)
    assert "one" in shown
    assert "best 1 of 1" in shown
    assert "1 runs, accuracies in percent" in shown


def test_the_same_folder_twice_needs_resume(run, data, preset):
    with pytest.raises(UsageError, match="holds a run already"):
        _call("train", preset, "--data", data, "--out", run)
    assert "Resuming" in _call(
        "train", preset, "--data", data, "--out", run, "--resume", "--set", "train.lr=1e-3"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "model.width=32"), "another model.width"),
        (("--set", "model.classes=5"), "has 3 classes"),
        (("--set", "train.epoch=5"), "Did you mean 'epochs'"),
        (("--set", "epochs"), "section.name=value"),
        (("--set", "train.batch_size=99"), "fewer than one batch"),
        (("--set", "model.k=0"), r"model\.k: .*greater than or equal to 1"),
        (("--set", "model.k=-1"), r"model\.k: .*greater than or equal to 1"),
        (("--set", "train.seed=-1"), r"train\.seed: .*greater than or equal to 0"),
        (("--set", "train.seed=5000000000"), r"train\.seed: .*less than or equal to"),
    ],
)
def test_wrong_settings_get_one_sentence(run, data, preset, words, sentence):
    before = (run / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match=sentence):
        _call("train", preset, "--data", data, "--out", run, "--resume", *words)
    assert (run / "last.safetensors").read_bytes() == before


def test_the_next_command_repeats_what_was_set(data, preset, tmp_path):
    out = _call(
        "cache",
        preset,
        "--data",
        data,
        "--out",
        tmp_path / "features",
        "--set",
        "train.seed=5",
        "--motion-weights",
        "random",
    )
    assert " MB in " in out
    words = "--set train.seed=5 --motion-weights random"
    assert f"--cache {tmp_path / 'features'} {words}" in out.replace("\n", "")
    run = tmp_path / "run"
    _call(
        "train",
        preset,
        "--data",
        data,
        "--out",
        run,
        "--cache",
        tmp_path / "features",
        *words.split(),
    )
    with pytest.raises(UsageError, match="differs in semantic weights"):
        _call(
            "train",
            preset,
            "--data",
            data,
            "--out",
            tmp_path / "other",
            "--cache",
            tmp_path / "features",
        )


@pytest.mark.parametrize("words", [("--batch-size", 0), ("--workers", -1), ("--views", 0)])
def test_bounds_of_a_cache(data, preset, tmp_path, words):
    done = CliRunner().invoke(
        app,
        ["cache", str(preset), "--data", str(data), "--out", str(tmp_path / "f"), *map(str, words)],
    )
    assert done.exit_code == 2
    assert str(words[0]) in done.output
    assert not (tmp_path / "f").exists()


def _copy(data: Path, into: Path) -> Path:
    shutil.copytree(data, into)
    return into


def test_one_class_only(data, preset, tmp_path):
    root = _copy(data, tmp_path / "one")
    rows = [
        row
        for row in json.loads((root / "labels/train.json").read_text())
        if row["template"] == CLASSES[0]
    ]
    (root / "labels/train.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match="of one class"):
        _call("train", preset, "--data", root, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_videos_that_are_missing_or_broken(data, preset, run, tmp_path):
    root = _copy(data, tmp_path / "set")
    (root / "videos/10.mp4").write_bytes(b"no video")
    with pytest.raises(GasmcastError, match="do not decode"):
        _call("eval", run, "--data", root, "--workers", 0)
    with pytest.raises(GasmcastError, match="do not decode") as caught:
        _call("eval", run, "--data", root, "--workers", 1)
    assert "Traceback" not in str(caught.value)
    (root / "videos/3.mp4").unlink()
    with pytest.raises(UsageError, match="1 of 9 videos are not there, for one 3"):
        _call("train", preset, "--data", root, "--out", tmp_path / "run")


def test_flips_need_the_mirror_image_of_every_class_that_names_a_side(preset, tiny_set, tmp_path):
    from gasmcast.training.inputs.training_set import open_training_set

    with pytest.raises(UsageError, match="'Pushing something from left to right' names a side"):
        open_training_set(preset, tiny_set, {"augment.flip": True})
    root = _copy(tiny_set, tmp_path / "set")
    table = json.loads((root / "labels.json").read_text())
    (root / "labels.json").write_text(
        json.dumps({**table, "Pushing something from right to left": len(table)})
    )
    assert open_training_set(preset, root, {"augment.flip": True}).clips.swap == {0: 3, 3: 0}


def test_only_a_validation_split_that_is_not_there_is_done_without(data, preset, tmp_path):
    from gasmcast.training.inputs.training_set import open_training_set

    root = _copy(data, tmp_path / "set")
    split = root / "labels/validation.json"
    rows = json.loads(split.read_text())
    assert open_training_set(preset, root, {}).validation is not None
    for content, sentence in (
        ("[{", "is not JSON"),
        ("[]", "lists no clips"),
        (json.dumps([{**rows[0], "template": "Folding something"}]), "is not in labels.json"),
        (
            json.dumps([*rows, {**rows[0], "id": "gone"}]),
            "1 of 7 videos are not there, for one gone",
        ),
    ):
        split.write_text(content)
        with pytest.raises(UsageError, match=sentence):
            open_training_set(preset, root, {})
    split.unlink()
    run = open_training_set(preset, root, {})
    assert run.validation is None
    assert any("no validation split" in text for text in run.warnings)


def test_other_classes_and_no_checkpoint(data, run, tmp_path):
    root = _copy(data, tmp_path / "set")
    (root / "labels/labels.json").write_text(
        json.dumps({**{name: i for i, name in enumerate(CLASSES)}, "Another": 3})
    )
    with pytest.raises(UsageError, match="other classes"):
        _call("eval", run, "--data", root)
    with pytest.raises(UsageError, match="No checkpoint"):
        _call("eval", tmp_path, "--data", data)
    torn = tmp_path / "best.safetensors"
    torn.write_bytes((run / "best.safetensors").read_bytes()[:-50])
    with pytest.raises(TornFileError, match="whole file"):
        _call("eval", torn, "--data", data)
    alone = tmp_path / "alone.safetensors"
    shutil.copy(run / "best.safetensors", alone)
    with pytest.raises(UsageError, match=r"frozen\.safetensors"):
        _call("eval", alone, "--data", data)
    with pytest.raises(MachineError, match="fp16"):
        _call("eval", run, "--data", data, "--precision", "fp16")


@pytest.mark.slow
def test_a_study_resumes_and_writes_its_table(data, preset, tmp_path, monkeypatch):
    from gasmcast.models.backbones.weight_files import NoWeightsError
    from gasmcast.training import start

    build = start.build_model

    def without(config):
        if config.model.fusion == "late":
            raise NoWeightsError("These weights are not available.")
        return build(config)

    monkeypatch.setattr(start, "build_model", without)
    rows = {"joined": {}, "summed": {"model.fusion": "add"}, "no weights": {"model.fusion": "late"}}
    study = tmp_path / "study.yaml"
    study.write_text(
        yaml.safe_dump(
            {"about": "A try.", "base": str(preset), "seeds": [0, 1], "rows": rows}, sort_keys=False
        )
    )
    out = tmp_path / "out"
    first = json.loads(
        _call("ablate", study, "--data", data, "--out", out, "--seeds", 1, "--json").splitlines()[
            -1
        ]
    )
    assert [line["row"] for line in first] == list(rows)
    assert first[0]["difference"] is None
    assert first[1]["difference_interval"] is not None
    assert "not available" in first[2]["not_run"]
    kept = (out / "joined/seed0/last.safetensors").stat().st_mtime_ns
    _call("ablate", study, "--data", data, "--out", out, "--seeds", 1)
    assert (out / "joined/seed0/last.safetensors").stat().st_mtime_ns == kept
    assert {"table.md", "table.csv", "table.json", "table.png"} <= {
        path.name for path in out.iterdir()
    }
    assert "| summed |" in (out / "table.md").read_text()
    with pytest.raises(UsageError, match="other settings"):
        _call("ablate", study, "--data", data, "--out", out, "--seeds", 1, "--set", "train.lr=0.1")


@pytest.mark.slow
def test_the_rows_of_a_study_share_features_of_frozen_backbones(data, preset, tmp_path):
    joined = {"model.read_out": "guarded", "train.stream_weight_folds": 2}
    rows = {
        "guarded": joined,
        "joint": {},
        "summed": {"model.fusion": "add"},
        "motion alone": {"model.streams": "motion"},
    }
    study = tmp_path / "study.yaml"
    study.write_text(
        yaml.safe_dump({"base": str(preset), "seeds": [0, 1], "rows": rows}, sort_keys=False)
    )
    frozen = ("--set", "train.cache_views=1", "--set", "model.freeze=true")
    lines = json.loads(
        _call(
            "ablate", study, "--data", data, "--out", tmp_path / "out", *frozen, "--json"
        ).splitlines()[-1]
    )
    assert [len(line["seeds"]) for line in lines] == [2, 2, 2, 2]
    # Random backbones differ by seed: two of both streams and two of one, for training and
    # validation each.
    assert len(list((tmp_path / "out/features").glob("*/index.json"))) == 8
