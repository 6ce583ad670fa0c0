import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.calibration.choose_clips import Choice
from gasmcast.calibration.clip_store import write_set
from gasmcast.calibration.tensor_stats import ActivationError
from gasmcast.comparison import compare
from gasmcast.data.annotations import read_labels, read_split
from gasmcast.data.reading import read_as
from gasmcast.errors import GateError, MachineError, UsageError
from gasmcast.evaluation.out_of_fold import write_out_of_fold
from gasmcast.export import export_plan, stages
from gasmcast.export.checks import judge as judging
from gasmcast.export.checks.accuracy_gate import FittedElsewhere, fit_elsewhere
from gasmcast.export.checks.gate_verdict import GateRecipe
from gasmcast.export.checks.parity import ParityReport
from gasmcast.export.export_plan import ExportPlan, left_out, wanted_precisions
from gasmcast.export.graphs import graph_file
from gasmcast.export.precisions import gate_stages
from gasmcast.export.precisions import prepare as prepare_module
from gasmcast.export.source import ExportSource
from gasmcast.labels import Labels
from gasmcast.runtime.bundle import Bundle
from gasmcast.spec import ClipSpec
from gasmcast.video.reader import duration_s

pytestmark = pytest.mark.slow


@pytest.fixture
def origin(tiny_export, tiny_set, monkeypatch):
    """The tiny model, its graphs not traced again."""
    model, config, paths = tiny_export

    def export_onnx(_, folder, progress):
        progress("tracing encoder")
        return {name: shutil.copy(path, folder / path.name) for name, path in paths.items()}

    monkeypatch.setattr(stages, "export_onnx", export_onnx)
    return ExportSource(
        model, config, read_labels(tiny_set), "0" * 64, "runs/test/best.safetensors"
    )


def plan(**changes):
    options = {
        "precisions": ("int8", "fp16"),
        "calibration_clips": 6,
        "held_out": 12,
        "parity_clips": 2,
        "threads": 1,
        "measure": False,
    }
    gate = GateRecipe(agreement=0.0, top1_loss=1.0, ece_shift=1.0)
    return ExportPlan(**{**options, "gate": gate, **changes})


def test_a_bundle_holds_what_passed_and_says_how_well(origin, tiny_set, tmp_path):
    steps = []
    result = stages.export_bundle(
        origin,
        tmp_path / "m.gasm",
        plan(measure=True),
        data=tiny_set,
        progress=lambda *a: steps.append(a[0]),
    )
    bundle = Bundle.open(result.path)
    assert set(bundle.precisions()) == {"fp32", "int8", "fp16"}
    assert {
        f"{g}{p}.onnx" for g in ("encoder", "head", "complete") for p in ("", ".int8", ".fp16")
    } <= set(bundle.manifest.files)
    for precision in ("fp32", "int8", "fp16"):
        measured = bundle.measured(precision)
        assert measured.clips == 12
        assert measured.temperature > 0
        assert measured.engine
        assert (measured.ms or 0) > 0
    report = json.loads((result.path / "report.json").read_text())
    assert report["parity"]["passed"]
    assert report["calibration"]["segments"] == 12
    assert {t["precision"] for t in report["speed"]["timings"]} == {"fp32", "int8", "fp16"}
    deviation = {(d["component"], d["tensor"]): d for d in report["deviation"]["int8"]}
    assert set(deviation) == {
        ("encoder", "semantic"),
        ("encoder", "motion"),
        ("head", "logits"),
        ("streaming", "logits"),
    }
    assert (
        5 < deviation["streaming", "logits"]["snr_db"] <= deviation["head", "logits"]["snr_db"] + 20
    )
    assert report["calibration"]["recipe"]["bias_correction"]
    assert any("fastest here" in note for note in report["speed"]["notes"])
    page = (result.path / "report.html").read_text()
    assert "Accuracy gate" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "encoder ranges" in steps
    assert not result.failed


def test_a_precision_that_fails_is_left_out_and_the_report_says_why(
    origin, tiny_set, tmp_path, monkeypatch
):
    true_judge = judging.judge_precision

    def strict_with_int8(precision, *given, recipe, **named):
        chosen = GateRecipe(agreement=1.01) if precision == "int8" else recipe
        return true_judge(precision, *given, recipe=chosen, **named)

    monkeypatch.setattr(judging, "judge_precision", strict_with_int8)
    monkeypatch.setattr(
        graph_file, "INLINE_BYTES", 0
    )  # weights beside their graphs, as above 1.9 GB
    result = stages.export_bundle(origin, tmp_path / "m.gasm", plan(search=False), data=tiny_set)
    assert [v.precision for v in result.failed] == ["int8"]
    assert Bundle.open(result.path).precisions() == ("fp16", "fp32")
    assert not list(result.path.glob("*int8*"))
    beside = result.manifest.files["encoder.fp16.onnx.data"]
    assert (beside.graph, beside.precision) == (None, None)
    assert result.report["files"]["encoder.fp16.onnx.data"] == beside.size
    assert "is not in the bundle" in (result.path / "report.html").read_text()


def test_bf16_is_judged_by_itself_on_the_files_of_another_precision(
    origin, tiny_set, tmp_path, monkeypatch
):
    asked = []
    true_open = judging.open_for

    def opened(precision, path, threads):
        asked.append((precision, path.name))
        return true_open(precision, path, threads)

    monkeypatch.setattr(judging, "open_for", opened)
    wanted = plan(precisions=("int8", "int8_bf16", "bf16"), measure=True)
    result = stages.export_bundle(origin, tmp_path / "m.gasm", wanted, data=tiny_set)
    assert ("int8_bf16", "encoder.int8.onnx") in asked
    assert ("bf16", "head.onnx") in asked
    assert Bundle.open(result.path).precisions() == ("bf16", "fp32", "int8", "int8_bf16")
    assert {entry.precision for entry in result.manifest.files.values() if entry.graph} == {
        "fp32",
        "int8",
    }
    assert [v.precision for v in result.verdicts] == ["fp32", "int8", "int8_bf16", "bf16"]
    assert result.manifest.precisions["int8_bf16"].ms
    assert set(result.report["deviation"]) == {"int8", "int8_bf16", "bf16"}


def test_bf16_on_files_that_failed_is_not_judged(origin, tiny_set, tmp_path, monkeypatch):
    true_judge = judging.judge_precision

    def strict_with_int8(precision, *given, recipe, **named):
        chosen = GateRecipe(agreement=1.01) if precision == "int8" else recipe
        return true_judge(precision, *given, recipe=chosen, **named)

    monkeypatch.setattr(judging, "judge_precision", strict_with_int8)
    result = stages.export_bundle(
        origin,
        tmp_path / "m.gasm",
        plan(search=False, precisions=("int8", "int8_bf16")),
        data=tiny_set,
    )
    assert [v.precision for v in result.verdicts] == ["fp32", "int8"]
    assert Bundle.open(result.path).precisions() == ("fp32",)
    assert (
        result.not_judged
        == result.report["not_judged"]
        == {"int8_bf16": "int8, whose files it runs, did not pass"}
    )
    assert (
        "int8_bf16 was not judged: int8, whose files it runs, did not pass."
        in (result.path / "report.html").read_text()
    )


def test_bf16_that_fails_itself_leaves_the_files_that_it_runs(
    origin, tiny_set, tmp_path, monkeypatch
):
    true_judge = judging.judge_precision

    def strict_with_bf16(precision, *given, recipe, **named):
        chosen = GateRecipe(agreement=1.01) if precision.endswith("bf16") else recipe
        return true_judge(precision, *given, recipe=chosen, **named)

    monkeypatch.setattr(judging, "judge_precision", strict_with_bf16)
    result = stages.export_bundle(
        origin, tmp_path / "m.gasm", plan(precisions=("int8", "int8_bf16", "bf16")), data=tiny_set
    )
    assert [v.precision for v in result.failed] == ["int8_bf16", "bf16"]
    assert Bundle.open(result.path).precisions() == ("fp32", "int8")
    assert set(result.manifest.precisions) == {"fp32", "int8"}
    assert (result.path / "encoder.int8.onnx").is_file()
    assert not result.not_judged


def test_fp32_that_gives_no_numbers_writes_nothing(origin, tiny_set, tmp_path, monkeypatch):
    true_judge = judging.judge_precision
    monkeypatch.setattr(
        judging,
        "judge_precision",
        lambda p, e, fp32, bad, *more, **recipe: true_judge(
            p, e, fp32, bad * np.nan, *more, **recipe
        ),
    )
    with pytest.raises(
        GateError,
        match=r"fp32 does not pass its own gate: logits of 12 clips are not numbers\. "
        r"Nothing was written\.",
    ):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan(), data=tiny_set)
    assert list(tmp_path.iterdir()) == []


def test_the_search_moves_blocks_back_until_the_gate_holds(origin, tiny_set, tmp_path, monkeypatch):
    seen = []
    true_judge = judging.judge_precision

    def strict_until_two_are_back(precision, engine, fp32, logits, labels, **_):
        seen.append(float(np.abs(fp32 - logits).max()))
        passes = len(seen) not in {
            2,
            3,
        }  # FP32 passes, INT8 as it is and with the worst block back do not
        return true_judge(
            precision,
            engine,
            fp32,
            logits,
            labels,
            recipe=GateRecipe(agreement=0.0 if passes else 1.01, top1_loss=1, ece_shift=1),
        )

    monkeypatch.setattr(judging, "judge_precision", strict_until_two_are_back)
    result = stages.export_bundle(
        origin, tmp_path / "m.gasm", plan(precisions=("int8",)), data=tiny_set
    )
    found = result.report["search"]["int8"]
    assert found["passed"]
    assert not found["before"]["passed"]
    assert len(found["moved_back"]) == 2
    assert len(seen) == 4  # what the search has judged is not judged again
    assert found["sensitivity"][0]["noise"] >= found["sensitivity"][-1]["noise"]
    assert "int8" in Bundle.open(result.path).precisions()
    assert result.manifest.precisions["int8"].engine == result.report["engines"]["int8"]


def test_broken_parity_writes_nothing(origin, tiny_set, tmp_path, monkeypatch):
    bad = compare("head", "logits", "openvino", np.zeros((2, 3)), np.ones((2, 3)))
    monkeypatch.setattr(stages, "verify_against_torch", lambda *_, **__: ParityReport((bad,)))
    with pytest.raises(GateError, match="broken by the head"):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan(), data=tiny_set)
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_cannot_be_made_leaves_the_others(origin, tiny_set, tmp_path, monkeypatch):
    """One overflow must not take FP32 with it (bugs.md, row 18)."""

    def require_rules(paths, hint):
        if any("int8" in path.name for path in paths):
            raise GateError("encoder.int8.onnx: its scale is computed.", hint)
        return []

    monkeypatch.setattr(prepare_module, "require_rules", require_rules)
    result = stages.export_bundle(
        origin, tmp_path / "m.gasm", plan(precisions=("int8", "int8_bf16")), data=tiny_set
    )
    assert not result
    assert not result.failed
    assert result.not_made == {"int8": "encoder.int8.onnx: its scale is computed"}
    assert "could not be made" in result.not_judged["int8_bf16"]
    assert "int8 could not be made: encoder.int8.onnx" in str(result)
    assert result.report["not_made"] == dict(result.not_made)
    assert "could not be made" in (result.path / "report.html").read_text()
    assert Bundle.open(result.path).precisions() == ("fp32",)
    assert not list(result.path.glob("*int8*"))


def test_activations_that_are_not_numbers_leave_fp32(origin, tiny_set, tmp_path, monkeypatch):
    def prepare(*_, **__):
        raise ActivationError("Tensor x holds values that are not numbers.")

    monkeypatch.setattr(gate_stages, "prepare", prepare)
    result = stages.export_bundle(origin, tmp_path / "m.gasm", plan(), data=tiny_set)
    assert set(result.not_made) == {"int8", "fp16"}
    assert Bundle.open(result.path).precisions() == ("fp32",)
    notes = "\n".join(result.notes)
    assert "on a CPU `gasmcast live` uses fp32, the only one for a CPU" in notes
    assert notes in "\n".join(result.report["notes"])


def test_class_names_that_no_bundle_holds_are_refused_before_anything_starts(origin, tmp_path):
    named = replace(origin, labels=Labels(["a", "b\nc", "d"]))
    with pytest.raises(UsageError, match=r"cannot be exported: the class name 'b\\nc'"):
        stages.export_bundle(named, tmp_path / "m.gasm", plan(precisions=()))
    assert list(tmp_path.iterdir()) == []


def test_without_clips_fp32_has_the_temperature_that_eval_fitted(origin, tmp_path):
    lent = replace(origin, temperature=1.7)
    result = stages.export_bundle(lent, tmp_path / "m.gasm", plan(precisions=()))
    assert Bundle.open(result.path).measured("fp32").temperature == 1.7
    assert "1.70" in (result.path / "report.html").read_text()
    assert (
        stages.export_bundle(origin, tmp_path / "n.gasm", plan(precisions=())).manifest.precisions
        == {}
    )


def test_clips_without_labels_of_the_model_leave_the_temperature_that_eval_fitted(
    origin, tiny_set, tmp_path
):
    other = replace(origin, labels=Labels(["a", "b", "c"]), temperature=1.7)
    result = stages.export_bundle(
        other, tmp_path / "m.gasm", plan(precisions=("bf16",)), data=tiny_set
    )
    assert {p: m.temperature for p, m in result.manifest.precisions.items()} == {
        "fp32": 1.7,
        "bf16": 1.7,
    }
    assert result.manifest.precisions["bf16"].agreement is not None
    assert (
        "each precision has the one that <code>gasmcast eval</code> fitted"
        in (result.path / "report.html").read_text()
    )
    labeled = stages.export_bundle(
        replace(origin, temperature=1.7), tmp_path / "n.gasm", plan(precisions=()), data=tiny_set
    )
    assert labeled.manifest.precisions["fp32"].temperature != 1.7
    assert labeled.report["temperature_of_eval"] is None


@pytest.mark.parametrize("stored", ["logits", "answers alone"])
def test_clips_that_were_trained_on_judge_agreement_alone(origin, tiny_set, tmp_path, stored):
    samples = read_split(tiny_set, "validation")
    run, names = tmp_path / "run", origin.labels.names
    labels = [sample.label for sample in samples]
    logits = np.random.default_rng(0).normal(size=(12, 3)) * 3
    write_out_of_fold(
        run,
        [np.arange(6), np.arange(6, 12)],
        [logits[:6], logits[6:]],
        SimpleNamespace(ids=[sample.id for sample in samples], labels=labels),
        groups=[sample.id for sample in samples],
        names=names,
    )
    fitted = fit_elsewhere(logits.astype(np.float32), np.array(labels), 0.05)
    if stored == "answers alone":
        # As in runs of older versions: nothing is fitted.
        (run / "folds" / "out_of_fold.safetensors").unlink()
        fitted = FittedElsewhere()
    assert (fitted.no_action is None) == (stored == "answers alone")

    result = stages.export_bundle(
        replace(origin, run=run), tmp_path / "m.gasm", plan(precisions=("bf16",)), data=tiny_set
    )
    assert [verdict.precision for verdict in result.verdicts] == ["fp32", "bf16"]
    for verdict in result.verdicts:
        assert verdict.trained_on
        assert verdict.agreement > 0
        assert (verdict.top1, verdict.top1_loss, verdict.ece) == (None, None, None)
        assert (verdict.temperature, verdict.no_action) == fitted
    assert "bf16 on 12 training clips" in str(result)
    assert str(result).count("the clips were trained on") == 1
    said = "could not be fitted" if stored == "answers alone" else "give temperature and threshold"
    assert said in str(result)
    assert "hardly better than chance" not in str(result)

    # A temperature of other clips, by `gasmcast eval`, is one of the final weights.
    lent = replace(origin, run=run, temperature=1.7)
    result = stages.export_bundle(lent, tmp_path / "e.gasm", plan(precisions=()), data=tiny_set)
    fp32 = result.manifest.precisions["fp32"]
    assert (fp32.temperature, fp32.no_action) == (1.7, fitted.no_action)

    # The same clips are held out from a run of other clips.
    answers = json.loads((run / "folds" / "out_of_fold.json").read_text())
    for answer in answers["answers"]:
        answer["id"] += " of another set"
    (run / "folds" / "out_of_fold.json").write_text(json.dumps(answers))
    other = stages.export_bundle(
        replace(origin, run=run), tmp_path / "n.gasm", plan(precisions=()), data=tiny_set
    )
    assert other.verdicts[0].top1 is not None
    assert "trained on" not in str(other)


def test_logits_out_of_fold_that_are_damaged_stop_the_export(origin, tiny_set, tmp_path):
    samples = read_split(tiny_set, "validation")
    run = tmp_path / "run"
    write_out_of_fold(
        run,
        [np.arange(12)],
        [np.eye(3)[[0] * 12]],
        SimpleNamespace(ids=[s.id for s in samples], labels=[s.label for s in samples]),
        groups=[s.id for s in samples],
        names=origin.labels.names,
    )
    file = run / "folds" / "out_of_fold.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UsageError, match=r"out_of_fold\.safetensors is damaged"):
        stages.export_bundle(
            replace(origin, run=run), tmp_path / "m.gasm", plan(precisions=()), data=tiny_set
        )
    assert not (tmp_path / "m.gasm").exists()


def test_an_allowed_leak_stands_in_the_report(origin, tiny_set, tmp_path):
    data = shutil.copytree(tiny_set, tmp_path / "data")
    rows = json.loads((data / "validation.json").read_text())
    rows += json.loads((data / "train.json").read_text())[:1]
    (data / "validation.json").write_text(json.dumps(rows))
    read_as(allow_leak=True)
    result = stages.export_bundle(origin, tmp_path / "m.gasm", plan(precisions=()), data=data)
    assert "Note: WARNING: LEAK ALLOWED: " in str(result)
    assert ".." not in str(result).split("LEAK ALLOWED")[1].split("\n")[0]
    assert any("LEAK ALLOWED" in note for note in result.report["notes"])
    assert "LEAK ALLOWED" in (result.path / "report.html").read_text()


def test_an_old_bundle_survives_a_failed_export(origin, tiny_set, tmp_path, monkeypatch):
    out = tmp_path / "m.gasm"
    stages.export_bundle(origin, out, plan(precisions=()))
    before = (out / "manifest.json").read_bytes()
    monkeypatch.setattr(stages, "verify_against_torch", lambda *_, **__: 1 / 0)
    with pytest.raises(UsageError, match="--force to replace it"):
        stages.export_bundle(origin, out, plan(), data=tiny_set)
    with pytest.raises(ZeroDivisionError):
        stages.export_bundle(origin, out, plan(), data=tiny_set, force=True)
    assert (out / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]


def test_int8_without_clips_is_refused_before_anything_starts(origin, tmp_path):
    with pytest.raises(UsageError, match="held-out clips"):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan())


@pytest.mark.parametrize(
    ("asked", "lacking", "wanted"),
    [
        ((), "", ()),
        (("fp32",), "", ()),
        (("fp16", "int8"), "", ("int8", "fp16")),
        (("int8_bf16",), "", ("int8", "int8_bf16")),
        (("bf16",), "", ("bf16",)),
        (("all",), "", ("int8", "int8_bf16", "bf16", "fp16", "int8_fp16")),
        (("all",), "no BF16", ("int8", "fp16", "int8_fp16")),
        (("int8",), "no BF16", ("int8",)),
    ],
)
def test_what_is_asked_for_is_made_in_order_with_what_it_runs_on(
    asked, lacking, wanted, monkeypatch
):
    monkeypatch.setattr(export_plan, "missing_bf16", lambda _: lacking)
    assert wanted_precisions(asked) == wanted


def test_what_all_leaves_out_here_is_told(origin, tiny_set, tmp_path, monkeypatch):
    monkeypatch.setattr(
        export_plan, "missing_bf16", lambda _: "this processor does not compute in BF16"
    )
    without = left_out(["all"])
    assert set(without) == {"int8_bf16", "bf16"}
    assert left_out(["int8"]) == {}
    result = stages.export_bundle(
        origin, tmp_path / "m.gasm", plan(precisions=(), left_out=without), data=tiny_set
    )
    assert (
        result.not_judged
        == json.loads((result.path / "report.json").read_text())["not_judged"]
        == without
    )
    assert (
        "bf16 was not judged: this processor does not compute in BF16."
        in (result.path / "report.html").read_text()
    )


def test_a_precision_that_does_not_exist_or_cannot_be_judged_here_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="No precision 'int4'"):
        wanted_precisions(["int8", "int4"])
    monkeypatch.setattr(
        export_plan, "missing_bf16", lambda _: "this processor does not compute in BF16"
    )
    with pytest.raises(
        MachineError, match="int8_bf16 can only be judged where it can be run, and this processor"
    ):
        wanted_precisions(["all", "int8_bf16"])


def test_a_calibration_set_needs_a_precision_and_none_of_the_clips_that_judge(
    origin, tiny_set, tmp_path
):
    spec = origin.config.spec
    choices = [Choice(s, 1.0, duration_s(s.path)) for s in read_split(tiny_set, "validation")[:6]]
    write_set(tmp_path / "set", choices, spec, 0)
    for own in (), ("bf16",):
        with pytest.raises(UsageError, match="for INT8 and FP16, and neither was asked for"):
            stages.export_bundle(
                origin,
                tmp_path / "m.gasm",
                plan(precisions=own),
                data=tiny_set,
                calibration=tmp_path / "set",
            )
    with pytest.raises(UsageError, match="set holds 6 clips of the validation split"):
        stages.export_bundle(
            origin, tmp_path / "m.gasm", plan(), data=tiny_set, calibration=tmp_path / "set"
        )
    assert not (tmp_path / "m.gasm").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("no set", "has no train.json"),
        ("leak", "1 source is in both train and validation"),
        ("no judges", "has no validation.json"),
        ("spec", "was made for another clip spec"),
        ("altered", "missing or was altered"),
        ("missing", "is not a calibration set"),
    ],
)
def test_bad_clips_are_refused_before_anything_is_traced(
    wrong, message, origin, tiny_set, tmp_path
):
    data, stored = shutil.copytree(tiny_set, tmp_path / "data"), tmp_path / "set"
    train = read_split(tiny_set, "train")[:4]
    spec = ClipSpec(**origin.config.spec.model_dump() | ({"pixels": 32} if wrong == "spec" else {}))
    write_set(stored, [Choice(s, 1.0, duration_s(s.path)) for s in train], spec, 0)
    if wrong == "no set":
        (data / "train.json").unlink()
    elif wrong == "leak":
        rows = (
            json.loads((data / "train.json").read_text())
            + json.loads((data / "validation.json").read_text())[:1]
        )
        (data / "train.json").write_text(json.dumps(rows))
    elif wrong == "no judges":
        (data / "validation.json").unlink()
    elif wrong == "altered":
        (stored / "frames.bin").write_bytes(b"0")
    elif wrong == "missing":
        (stored / "index.json").unlink()
    given = None if wrong in {"no set", "leak", "no judges"} else stored
    said = []
    with pytest.raises(UsageError, match=message):
        stages.export_bundle(
            origin,
            tmp_path / "m.gasm",
            plan(),
            data=data,
            calibration=given,
            progress=lambda *step: said.append(step),
        )
    assert not said


def test_a_handful_of_clips_judges_nothing(origin, tiny_set, tmp_path):
    with pytest.raises(UsageError, match="too few to judge int8"):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan(held_out=5), data=tiny_set)


@pytest.mark.parametrize("full", ["out", "temporary"])
def test_a_full_disk_is_told_before_anything_starts(full, origin, tiny_set, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(export_plan.tempfile, "gettempdir", lambda: str(scratch))
    room = SimpleNamespace(free=10**12)
    none = SimpleNamespace(free=10**6)
    monkeypatch.setattr(
        export_plan.shutil,
        "disk_usage",
        lambda folder: none if (folder == scratch) == (full == "temporary") else room,
    )
    with pytest.raises(MachineError, match="GB free, this export may need"):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan(), data=tiny_set)


def test_only_a_bundle_is_replaced(origin, tmp_path):
    (tmp_path / "m.gasm").mkdir()
    (tmp_path / "m.gasm" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a bundle"):
        stages.export_bundle(origin, tmp_path / "m.gasm", plan(precisions=()))
    assert (tmp_path / "m.gasm" / "thesis.txt").read_text() == "mine"


def test_agreement_with_a_teacher_stands_beside_agreement_with_fp32(origin, tiny_set, tmp_path):
    clips = [s.id for s in read_split(tiny_set, "validation")]
    # A teacher that says 0 of every clip agrees exactly where FP32 says 0, too.
    taught = replace(origin, teacher=dict.fromkeys(clips, 0))
    result = stages.export_bundle(taught, tmp_path / "m.gasm", plan(), data=tiny_set)
    assert {verdict.teacher_agreement for verdict in result.verdicts} <= {i / 12 for i in range(13)}
    assert "with the teacher" in str(result)
    assert "with the teacher" in (result.path / "report.html").read_text()

    # A teacher of other clips says nothing about these.
    other = replace(origin, teacher={"elsewhere": 0})
    result = stages.export_bundle(other, tmp_path / "o.gasm", plan(precisions=()), data=tiny_set)
    assert result.verdicts[0].teacher_agreement is None
    assert "with the teacher" not in (result.path / "report.html").read_text()


def test_background_sets_the_threshold_and_stands_in_the_report(origin, tiny_set, tmp_path):
    # Clips of the set itself are as hard a background as there is: the threshold is near the top.
    quiet = plan(precisions=(), background=(tiny_set / "videos",))
    result = stages.export_bundle(origin, tmp_path / "b.gasm", quiet, data=tiny_set)
    verdict = result.verdicts[0]
    assert verdict.background > 0
    assert verdict.background_reported is not None
    assert verdict.background_reported <= quiet.gate.false_alarms
    assert result.manifest.precisions["fp32"].no_action == verdict.no_action
    assert "background reported" in (tmp_path / "b.gasm/report.html").read_text()

    with pytest.raises(UsageError, match="Give --data"):
        stages.export_bundle(origin, tmp_path / "c.gasm", quiet)
    nowhere = plan(precisions=(), background=(tmp_path / "no",))
    with pytest.raises(UsageError, match="does not exist"):
        stages.export_bundle(origin, tmp_path / "d.gasm", nowhere, data=tiny_set)
