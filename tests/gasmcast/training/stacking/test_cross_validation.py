"""`gasmcast train --folds`: judged on sources that no model has seen, then trained on all clips."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from gasmcast.api.evaluate import evaluate
from gasmcast.api.export import export
from gasmcast.api.train import train
from gasmcast.cli import app
from gasmcast.data.source_interval import source_interval
from gasmcast.errors import UsageError
from gasmcast.evaluation.metrics import fit_temperature
from gasmcast.evaluation.out_of_fold import read_logits, read_out_of_fold
from gasmcast.training import loop
from gasmcast.training.logs.listing import list_runs, render_runs
from gasmcast.training.stacking import folds


def _video(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for _ in range(10):
        writer.write(np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    writer.release()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Return a folder of twelve videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        _video(folder / f"{number}.mp4", number)
    return folder


def _table(videos: Path, path: Path, rows: list[str], head: str = "video,label,source") -> Path:
    path.write_text("\n".join([head, *(f"{videos}/{row}" for row in rows)]) + "\n")
    return path


@pytest.fixture
def clips(videos, tmp_path) -> Path:
    """Return a table of two classes with six clips each, from six sources."""
    rows = [f"{n}.mp4,{('up', 'down')[n % 2]},room {n // 2}" for n in range(12)]
    return _table(videos, tmp_path / "clips.csv", rows)


def _preset(fake, folder: Path, **model) -> Path:
    tree = {section: dict(values) for section, values in fake.TINY.items()}
    del tree["model"]["classes"]
    tree["model"] |= model
    tree["train"] |= {"epochs": 1, "batch_size": 3}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("read_out", ["joint", "guarded"])
def test_folds_judge_and_then_all_clips_train(fake, clips, tmp_path, read_out: str) -> None:
    if read_out == "guarded":
        preset = _preset(fake, tmp_path, read_out="guarded")
        settings = {"train.stream_weight_folds": 2}
    else:
        preset, settings = _preset(fake, tmp_path), {}
    run, stages = tmp_path / "run", []
    result = train(
        preset,
        clips,
        run,
        folds=3,
        settings=settings,
        progress=lambda stage, *_: stages.append(stage),
        warn=lambda _: None,
    )

    # No clip is left out of the last training, and each was judged by a model that had not seen it.
    assert (result.training_clips, result.validation_clips) == (12, 0)
    assert "Fold 2 of 3: 4 clips of 2 sources are held out." in stages
    stored = json.loads((run / "folds" / "out_of_fold.json").read_text())
    assert len({answer["id"] for answer in stored["answers"]}) == stored["clips"] == 12
    folds_of = {answer["source"]: set() for answer in stored["answers"]}
    for answer in stored["answers"]:
        folds_of[answer["source"]].add(answer["fold"])
    assert len(folds_of) == stored["sources"] == 6
    assert all(len(folds) == 1 for folds in folds_of.values())
    right = np.mean([a["label"] == a["predicted"] for a in stored["answers"]])
    assert result.out_of_fold_top1 == stored["top1"] == right
    low, high = result.out_of_fold_interval
    assert low <= right <= high
    assert "95 % over 6 sources" in str(result)
    assert (result.stream_weights is not None) == (read_out == "guarded")

    # An evaluation on the same clips is no test, and says so.
    evaluation = evaluate(run, clips)
    assert evaluation.leak.startswith("WARNING: the run was trained on ")
    assert "Out of fold, on 12 clips of 6 sources" in evaluation.leak
    assert not (run / "temperature.json").exists()

    # Runs and their report show it; folds are not runs.
    (row,) = list_runs(tmp_path)
    assert (row["run"], row["out_of_fold_top1"]) == ("run", right)
    head, line = render_runs([row])
    assert line[head.index("out of fold")] == f"{100 * right:.1f}"

    # What is finished is not trained again.
    states = {path: path.stat().st_mtime_ns for path in run.glob("folds/fold*/last.safetensors")}
    assert len(states) == 3
    again = train(preset, clips, run, folds=3, settings=settings, resume=True, warn=lambda _: None)
    assert again.out_of_fold_top1 == right
    assert states == {path: path.stat().st_mtime_ns for path in states}
    with pytest.raises(UsageError, match=r"the result of 3 folds\. Use --folds 3"):
        train(preset, clips, run, folds=2, settings=settings, resume=True, warn=lambda _: None)


@pytest.mark.slow
def test_an_export_calibrates_on_the_folds_and_not_on_clips_that_were_trained_on(
    fake, clips, tmp_path
) -> None:
    run = tmp_path / "run"
    train(_preset(fake, tmp_path), clips, run, folds=3, warn=lambda _: None)
    result = export(run, tmp_path / "m.gasm", data=clips, measure=False, threads=1)

    unseen = read_logits(run, 2)
    assert unseen is not None
    assert unseen.logits.shape == (12, 2)
    stored = json.loads((run / "folds" / "out_of_fold.json").read_text())
    names = ("down", "up")
    assert [names[i] for i in unseen.logits.argmax(1)] == [
        answer["predicted"] for answer in stored["answers"]
    ]
    assert [names[i] for i in unseen.labels] == [answer["label"] for answer in stored["answers"]]

    # Agreement is judged; temperature and threshold are of clips that the models had not seen.
    fp32 = result.manifest.precisions["fp32"]
    assert (fp32.agreement, fp32.top1, fp32.ece) == (1.0, None, None)
    assert fp32.temperature == pytest.approx(fit_temperature(*unseen))
    wrong = unseen.logits.argmax(1) != unseen.labels
    assert (fp32.no_action is not None) == wrong.any()
    assert "training clips" in str(result)
    warning = "WARNING: the clips were trained on: agreement is judged, accuracy and calibration"
    assert str(result).count(warning) == 1
    assert "Out of fold, on 12 clips of 6 sources" in str(result)
    assert any(note.startswith(warning) for note in result.report["notes"])
    page = (result.path / "report.html").read_text()
    assert warning in page
    assert "which the model has learned: agreement only" in page


def test_a_fold_that_is_finished_is_not_trained_again(fake, clips, tmp_path, monkeypatch) -> None:
    preset, run = _preset(fake, tmp_path), tmp_path / "run"
    honest, seen = folds.train, []

    def stop_at_second(config, clips, *given, **named):
        seen.append(given[2].name)
        return {"stopped": "SIGTERM"} if len(seen) == 2 else honest(config, clips, *given, **named)

    monkeypatch.setattr(folds, "train", stop_at_second)
    assert train(preset, clips, run, folds=3, warn=lambda _: None).stopped == "SIGTERM"
    assert read_out_of_fold(run) is None

    # The updates of the two other folds, and those of all clips.
    update, updates = loop.update_weights, []
    monkeypatch.setattr(
        loop,
        "update_weights",
        lambda *given: updates.append(given[0].folder.name) or update(*given),
    )
    monkeypatch.setattr(folds, "train", honest)
    assert train(preset, clips, run, folds=3, resume=True, warn=lambda _: None)
    assert Counter(updates) == {"fold1": 2, "fold2": 2, "run": 4}
    assert read_out_of_fold(run) is not None


def test_a_stated_split_keeps_its_validation_clips(fake, videos, tmp_path) -> None:
    rows = [f"{n}.mp4,{('up', 'down')[n % 2]},{'train' if n < 8 else 'val'}" for n in range(12)]
    data = _table(videos, tmp_path / "clips.csv", rows, "video,label,split")
    result = train(_preset(fake, tmp_path), data, tmp_path / "run", folds=2, warn=lambda _: None)
    assert (result.training_clips, result.validation_clips) == (8, 4)
    judged = read_out_of_fold(tmp_path / "run")
    assert judged is not None
    assert judged.clips == 8
    assert "top1" in result.metrics


def test_a_class_of_one_source_is_named(fake, videos, tmp_path) -> None:
    rows = [f"{n}.mp4,{('up', 'down')[n % 2]},{n // 2}" for n in range(8)]
    rows += [f"{n}.mp4,spin,hall" for n in range(8, 12)]
    data, warnings = _table(videos, tmp_path / "clips.csv", rows), []
    train(_preset(fake, tmp_path), data, tmp_path / "run", folds=2, warn=warnings.append)
    assert any("1 class comes from one source (spin)" in text for text in warnings)
    stored = json.loads((tmp_path / "run" / "folds" / "out_of_fold.json").read_text())
    assert stored["classes"]["spin"] == {"clips": 4, "sources": 1, "top1": 0.0}


@pytest.mark.parametrize(
    ("folds", "says"), [(7, "come from 6 sources, so 2 to 6"), (1, "so 2 to 6 folds")]
)
def test_folds_that_cannot_be_made(fake, clips, tmp_path, folds: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        train(_preset(fake, tmp_path), clips, tmp_path / "run", folds=folds, warn=lambda _: None)


def test_classes_of_one_source_each_cannot_be_judged(fake, videos, tmp_path) -> None:
    rows = [f"{n}.mp4,{('up', 'down')[n % 2]},{n % 2}" for n in range(12)]
    data = _table(videos, tmp_path / "clips.csv", rows)
    with pytest.raises(UsageError, match="Every class comes from a single source"):
        train(_preset(fake, tmp_path), data, tmp_path / "run", folds=2, warn=lambda _: None)


def test_the_verb_prints_the_result_and_what_comes_next(fake, clips, tmp_path) -> None:
    words = ["train", _preset(fake, tmp_path), "--data", clips, "--out", tmp_path / "run"]
    done = CliRunner().invoke(app, [str(word) for word in [*words, "--folds", "2"]])
    assert done.exit_code == 0, done.output
    assert "Out of fold, on 12 clips of 6 sources" in " ".join(done.output.split())
    assert "Next: gasmcast export" in done.output


def test_an_interval_over_sources_is_wider_than_one_over_clips() -> None:
    correct = np.repeat([True, False, True, True], 25)
    alone = source_interval(correct, [str(i) for i in range(100)])
    together = source_interval(correct, [str(i // 25) for i in range(100)])
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert source_interval(np.ones(5, bool), list("aabbc")) == (1.0, 1.0)
    assert source_interval(np.ones(0, bool), []) == (0.0, 0.0)
