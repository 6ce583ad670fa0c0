"""Studies with rows that fail and with folders of other studies; the training is a stub."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.config import load_config
from gasmcast.errors import MachineError, UsageError
from gasmcast.labels import Labels
from gasmcast.models.backbones.weight_files import NoWeightsError
from gasmcast.models.counts import Counts, MultiplyAdds, Parameters, count
from gasmcast.studies import ablation
from gasmcast.studies.ablation import run_study
from gasmcast.studies.shared_clips import SharedClips
from gasmcast.studies.study import STUDIES, Study, base_config, read_study, row_settings
from gasmcast.training.inputs import training_set
from gasmcast.training.inputs.training_set import TrainingSet
from gasmcast.training.stacking import cross_validation
from gasmcast.training.stacking.fitted_config import FittedConfig
from gasmcast.training.step import DivergedError

SIZE = Counts(
    parameters=Parameters(total=2, trainable=1, frozen_share=0.5, by_part={}),
    macs=MultiplyAdds(total=3, encoder=2, head=1, decision=None, by_part={}),
    cross_attention_ratio=None,
)
NAMES = ("Closing something", "Opening something")


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/labels.json").write_text(
        json.dumps({name: i for i, name in enumerate(NAMES)})
    )
    return tmp_path / "data"


@pytest.fixture
def trained(monkeypatch):
    """Return the fusions that were trained, in order, and a dictionary of faults.

    A fusion in `faults` raises its error, or is stopped by its signal, after its folder was made.
    """
    done, faults = [], {}

    def train(config, clips, validation, labels, folder, *, resume, warnings):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
        done.append(config.model.fusion)
        print("The table of a training.")
        fault = faults.get(config.model.fusion, "")
        if isinstance(fault, Exception):
            raise fault
        return {"stopped": fault}

    def opened(shared, settings):
        config = load_config(shared._source, {**settings, "model.classes": 2})
        return TrainingSet(config, [], [], Labels(NAMES), ())

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(SharedClips, "open", opened)
    monkeypatch.setattr(ablation, "load_checkpoint", lambda _: (None,) * 4)
    monkeypatch.setattr(ablation, "model_logits", lambda _: None)
    monkeypatch.setattr(ablation, "predict", lambda *_, **__: (np.eye(2), np.array([0, 1])))
    return done, faults


@pytest.fixture
def sized(monkeypatch):
    """Measure rows of one tap only, because it takes a second or more."""
    monkeypatch.setattr(
        ablation,
        "count",
        lambda config: count(config) if len(config.model.motion_taps) == 1 else SIZE,
    )


def _study(*fusions, **extra):
    rows = {f"by {name}": {"model.fusion": name} for name in fusions}
    return Study.model_validate({"seeds": [0], "rows": {**rows, **extra}})


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"model.fussion": "add"},
            "Row 'last': demo: unknown key 'model.fussion'. Did you mean 'fusion'",
        ),
        ({"model.motion_taps": ["layer9"]}, "Row 'last': motion_taps: tiny has no stage 'layer9'"),
    ],
)
def test_a_wrong_last_row_is_told_before_the_first_is_trained(
    data, tmp_path, trained, row, sentence
):
    with pytest.raises(UsageError, match=sentence):
        run_study(_study("bcast", "add", last=row), data, tmp_path / "out")
    assert trained[0] == []


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (
            DivergedError("The loss is not finite at epoch 2; clips: a, b."),
            "diverged (seed 0): The loss is not finite at epoch 2",
        ),
        (NoWeightsError("The weights are not available."), "The weights are not available."),
    ],
)
def test_a_row_at_fault_does_not_cost_the_others(data, tmp_path, trained, fault, why):
    done, faults = trained
    faults["add"] = fault
    lines, stopped = run_study(_study("bcast", "add", "mul"), data, tmp_path / "out")
    assert stopped == ""
    assert done == ["bcast", "add", "mul"]
    assert [line.not_run for line in lines] == ["", why, ""]
    assert lines[2].difference == 0.0
    faults["bcast"] = fault  # what the others would be compared with
    with pytest.raises(type(fault)):
        run_study(_study("bcast", "mul"), data, tmp_path / "other")


STOPS = [("SIGTERM", 0), ("SIGINT", 130)]


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize("stop", STOPS)
def test_a_study_that_is_stopped_says_so(data, tmp_path, trained, monkeypatch, stop):
    done, faults = trained
    faults["add"], code = stop
    monkeypatch.setattr(
        "gasmcast.studies.study.read_study", lambda _: _study("bcast", "add", "mul")
    )
    for options in ([], ["--json"]):
        done.clear()
        result = CliRunner().invoke(
            app, ["ablate", "fusion", "--data", str(data), "--out", str(tmp_path / "out"), *options]
        )
        assert (result.exit_code, done[-1]) == (code, "add"), result.output
        assert "Stopped." in result.output
        assert not options or len(json.loads(result.stdout)) == 1


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("where", ["folds", "run"])
def test_a_training_that_is_stopped_says_how_to_go_on(data, tmp_path, monkeypatch, stop, where):
    name, code = stop
    opened = TrainingSet(load_config("demo"), [0, 1], None, Labels(NAMES), ())
    monkeypatch.setattr(training_set, "open_training_set", lambda *_, **__: opened)
    fitted = FittedConfig(opened.config, name if where == "folds" else "")
    monkeypatch.setattr(cross_validation, "with_stream_weights", lambda *_, **__: fitted)
    monkeypatch.setattr("gasmcast.training.loop.train", lambda *_, **__: {"stopped": name})
    result = CliRunner().invoke(
        app, ["train", "demo", "--data", str(data), "--out", str(tmp_path / "run")]
    )
    assert result.exit_code == code, result.output
    assert result.output.splitlines()[-1:] == [
        f"Stopped. Resume with: gasmcast train demo --data {data} --out {tmp_path / 'run'} --resume"
    ]


@pytest.mark.usefixtures("sized")
def test_a_machine_at_fault_ends_the_study(data, tmp_path, trained):
    trained[1]["add"] = MachineError("No space left.")
    with pytest.raises(MachineError, match="No space left"):
        run_study(_study("bcast", "add", "mul"), data, tmp_path / "out")
    trained[1].clear()
    lines, _ = run_study(_study("bcast", "add", "mul"), data, tmp_path / "out")
    assert trained[0] == ["bcast", "add", "add", "mul"]
    assert all(line.not_run == "" for line in lines)


@pytest.mark.usefixtures("sized")
def test_an_interrupted_row_does_not_go_on_under_other_settings(data, tmp_path, trained):
    trained[1]["bcast"] = MachineError("No space left.")
    for settings in (
        {"train.lr": 1e-3},
        {"train.lr": 1e-3, "train.workers": 0},
    ):  # workers do not count
        with pytest.raises(MachineError):
            run_study(_study("bcast"), data, tmp_path / "out", settings=settings)
    with pytest.raises(UsageError, match=r"other settings \(train\.lr\)"):
        run_study(_study("bcast"), data, tmp_path / "out", settings={"train.lr": 2e-3})
    fold = (
        tmp_path / "folds/by-bcast/seed0/folds/fold0"
    )  # all that a run has that was stopped in its folds
    fold.mkdir(parents=True)
    (fold / "config.yaml").write_text((tmp_path / "out/by-bcast/seed0/config.yaml").read_text())
    with pytest.raises(UsageError, match=r"other settings \(augment\.flip\)"):
        run_study(
            _study("bcast"),
            data,
            tmp_path / "folds",
            settings={"train.lr": 1e-3, "augment.flip": True},
        )


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize(
    "names", [("a", "A"), ("k = 4", "k: 4"), ("größer", "gräßer"), ("+", "row")]
)
def test_rows_that_would_share_a_folder_are_refused_before_any_is_trained(
    data, tmp_path, trained, names
):
    rows = {"first": {"model.fusion": "mul"}, names[0]: {}, names[1]: {"model.fusion": "add"}}
    with pytest.raises(UsageError, match="would have one folder"):
        run_study(Study.model_validate({"seeds": [0], "rows": rows}), data, tmp_path / "out")
    assert trained[0] == []


@pytest.mark.usefixtures("sized")
def test_memory_changes_pixels_so_it_is_no_matter_of_how_a_run_is_carried_out(
    data, tmp_path, trained
):
    run_study(_study("bcast"), data, tmp_path / "out")
    with pytest.raises(UsageError, match=r"other settings \(train\.memory_gb\)"):
        run_study(_study("bcast"), data, tmp_path / "out", settings={"train.memory_gb": 0.0})


@pytest.mark.usefixtures("sized")
def test_a_damaged_result_is_one_sentence(data, tmp_path, trained):
    run_study(_study("bcast"), data, tmp_path / "out")
    result = tmp_path / "out/by-bcast/seed0/validation.json"
    result.write_text(result.read_text()[:-5])
    with pytest.raises(UsageError, match=r"validation\.json is damaged .*Remove it"):
        run_study(_study("bcast"), data, tmp_path / "out")
    result.write_text('{"hits": []}')
    with pytest.raises(UsageError, match=r"validation\.json is damaged \(it lacks config\)"):
        run_study(_study("bcast"), data, tmp_path / "out")
    result.unlink()
    assert run_study(_study("bcast"), data, tmp_path / "out")[0][0].top1 == 1.0


@pytest.mark.parametrize("seed", [-1, 5_000_000_000])
def test_seeds_have_bounds(tmp_path, seed):
    (tmp_path / "study.yaml").write_text(f"seeds: [0, {seed}]\nrows: {{a: {{}}}}\n")
    with pytest.raises(UsageError, match="seeds"):
        read_study(str(tmp_path / "study.yaml"))


@pytest.mark.parametrize("name", STUDIES)
def test_no_two_rows_of_a_study_are_alike(name):
    study = read_study(name)
    base = base_config(study, None, {})
    configs = [
        load_config(base.source, {**base.settings, **row_settings(row, base.config)})
        for row in study.all_rows().values()
    ]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
