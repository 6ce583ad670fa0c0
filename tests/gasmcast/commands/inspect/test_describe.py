"""`gasmcast inspect`: presets, bundles without torch, and bad targets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.commands.inspect.describe import describe, shapes
from gasmcast.config import load_config
from gasmcast.errors import UsageError
from gasmcast.manifest import Manifest

COUNTS = {
    "parameters": {"total": 2, "trainable": 1, "frozen_share": 0.5, "by_part": {"exchange": 2}},
    "macs": {"total": 3, "encoder": 1, "head": 2, "decision": 3, "by_part": {"exchange": 3}},
    "cross_attention_ratio": 0.5,
}


@pytest.fixture
def bundle(tmp_path):
    config = load_config("demo")
    manifest = Manifest(
        gasmcast="0",
        created="2026-01-01T00:00:00Z",
        labels=("a", "b"),
        spec=config.spec,
        model=config.model.model_dump(mode="json"),
        checkpoint_sha256="0" * 64,
        files={},
        precisions={"fp32": {"clips": 4, "top1": 0.75}},
        counts=COUNTS,
    )
    folder = tmp_path / "m.gasm"
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def test_shapes_are_those_of_the_design():
    config = load_config("ssv2")
    assert shapes(config.model, config.spec) == {
        "clip": [9, 8, 224, 224, 3],
        "segments": [2, 8, 224, 224, 3],
        "semantic": [8, 3, 2, 196, 512],
        "motion": [8, 3, 49, 512],
        "logits": [174],
    }


@pytest.mark.parametrize("preset", ["demo", "small-data"])
def test_a_preset(preset):
    record = describe(preset)
    assert record["kind"] == "preset"
    assert record["parameters"]["total"] == sum(record["parameters"]["by_part"].values())
    assert json.loads(json.dumps(record)) == record


def test_a_bundle_is_inspected_without_torch(bundle):
    """In a process in which torch cannot be imported."""
    code = (
        "import sys, json; sys.modules['torch'] = None\n"
        "from gasmcast.commands.inspect.describe import describe\n"
        "print(json.dumps(describe(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bundle], capture_output=True, text=True, check=True
    )
    record = json.loads(done.stdout)
    assert record["kind"] == "bundle"
    assert record["parameters"] == COUNTS["parameters"]
    assert record["macs"] == COUNTS["macs"]
    assert record["labels"] == ["a", "b"]
    assert record["precisions"]["fp32"]["top1"] == 0.75


def test_the_command_prints_a_table_and_json(bundle):
    import typer

    from gasmcast.commands.inspect import inspect

    verb = typer.Typer()
    verb.command()(inspect)
    table = CliRunner().invoke(verb, [str(bundle)])
    assert table.exit_code == 0
    assert "exchange" in table.output
    assert "2 s: a decision looks back over 4 x 0.5 s" in table.output.replace("\n", " ")
    assert "fp32" in table.output
    assert table.output.strip().splitlines()[-1].startswith("Next: gasmcast live")
    printed = CliRunner().invoke(verb, [str(bundle), "--json"])
    assert json.loads(printed.output)["cross_attention_ratio"] == 0.5


def test_labels_of_a_bundle_cannot_command_the_terminal(bundle):
    import typer

    from gasmcast.commands.inspect import inspect

    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["labels"] = ["\x1b]52;c;aGk=\x07", "Pouring [something]\nforged"]  # refused
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    app = typer.Typer()
    app.command()(inspect)
    shown = CliRunner().invoke(app, [str(bundle)])
    assert isinstance(shown.exception, UsageError)
    assert "control characters" in str(shown.exception)
    assert "\x1b" not in str(shown.exception)


def test_what_is_not_there_is_one_sentence(tmp_path):
    for target in (
        "no-such-thing",
        str(tmp_path),
        str(tmp_path / "x.gasm"),
        str(tmp_path / "x.yaml"),
    ):
        with pytest.raises(UsageError):
            describe(target)


def test_window_frame_rate_and_every_label_are_shown(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["labels"] = [f"Doing thing number {number} [again]" for number in range(40)]
    manifest["spec"] |= {"segments": 8, "segment_s": 0.5, "motion_frames": 8}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert describe(str(bundle))["timing"] == {
        "window_s": 4.0,
        "segment_s": 0.5,
        "fps": 16.0,
        "fitted": False,
    }

    printed = CliRunner().invoke(app, ["inspect", str(bundle)]).output
    for part in ("4 s: a decision looks back", "16 per second", "64 x 64 px", "40 labels"):
        assert part in printed
    for label in manifest["labels"]:
        assert label in printed


def test_a_preset_says_that_training_fits_its_window():
    printed = CliRunner().invoke(app, ["inspect", "small-data"]).output
    assert "training fits it to the length of your clips" in " ".join(printed.split())
