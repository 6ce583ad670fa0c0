"""Law: the events that are evaluated, and that thresholds are chosen by, are those of `live`."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from gasmcast.api.alarm_thresholds import choose_threshold
from gasmcast.api.evaluate_events import evaluate_events
from gasmcast.api.idle_hours import record_background
from gasmcast.cli import app
from gasmcast.errors import GateError, UsageError
from gasmcast.manifest import read_manifest
from tests.conftest import write_video

SETTINGS = "on: 0.09\noff: 0.06\nmin_s: 0.0\nsmooth_s: 0.5\n"


@pytest.fixture(scope="module")
def set_of_one(tmp_path_factory, tiny_bundle):
    folder = tmp_path_factory.mktemp("long")
    video = write_video(folder / "one.mp4", 30.0)
    label = read_manifest(tiny_bundle).labels[0]
    rows = [{"segment": [2.0, 9.0], "label": label}]
    (folder / "long.json").write_text(json.dumps({"database": {"one": {"annotations": rows}}}))
    return folder, video


def live_events(video, bundle, folder, *flags):
    out = folder / "live.jsonl"
    out.unlink(missing_ok=True)
    arguments = ["live", str(video), "--bundle", str(bundle), "--jsonl", str(out), "--quiet"]
    result = CliRunner().invoke(app, [*arguments, *flags])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in out.read_text().splitlines()]
    return [row for row in records if row["kind"] == "event"]


def plain(event):
    return {key: value for key, value in event.items() if key not in ("ts", "camera", "label_id")}


def test_evaluated_events_are_those_of_live(set_of_one, tiny_bundle, tmp_path):
    folder, video = set_of_one
    config = tmp_path / "live.yaml"
    config.write_text(SETTINGS)
    result = evaluate_events(
        tiny_bundle, folder / "long.json", config=config, out=tmp_path / "events"
    )
    live = live_events(video, tiny_bundle, tmp_path, "--config", str(config))

    assert [plain(event.to_json()) for event in result.events] == [plain(e) for e in live]
    assert any(event["phase"] == "start" for event in live)
    stored = json.loads((tmp_path / "events" / "events.json").read_text())
    assert len(stored["figures"]) == 7
    assert (tmp_path / "events" / "events.png").stat().st_size > 1000
    assert "temporal IoU" in str(result)


def test_other_formats_give_the_same_figures(set_of_one, tiny_bundle, tmp_path):
    folder, video = set_of_one
    config = tmp_path / "live.yaml"
    config.write_text(SETTINGS)
    label = read_manifest(tiny_bundle).labels[0]
    # Its ending hides the format, so that only `--format` reads it.
    table = tmp_path / "spans.list"
    table.write_text(f"video,label,start,end\n{video},{label},2.0,9.0\n")
    first = evaluate_events(tiny_bundle, folder / "long.json", config=config)
    arguments = ["eval", str(tiny_bundle), "--data", str(table), "--events", "--json"]
    arguments += ["--config", str(config), "--precision", "auto", "--format"]
    result = CliRunner().invoke(app, [*arguments, "table"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["figures"] == first.to_json()["figures"]

    # The stated format is the one that is read; a context would be without effect.
    assert isinstance(CliRunner().invoke(app, [*arguments, "jsonl"]).exception, UsageError)
    refused = CliRunner().invoke(app, [*arguments, "table", "--context", "1"])
    assert isinstance(refused.exception, UsageError)


def test_thresholds_take_labeled_videos_of_a_stated_format(set_of_one, tiny_bundle, tmp_path):
    _, video = set_of_one
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b.gasm")
    idle = tmp_path / "idle.npz"
    record_background([str(video)], bundle, 1.0, idle)
    table = tmp_path / "spans.list"
    table.write_text(f"video,label,start,end\n{video},{read_manifest(bundle).labels[0]},2,9\n")
    arguments = ["threshold", str(bundle), "--background", str(idle), "--at-most", "1000/hour"]
    arguments += ["--data", str(table), "--dry-run", "--json", "--format"]
    result = CliRunner().invoke(app, [*arguments, "table"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["chosen"]["hit_rate"] in (0.0, 1.0)
    assert isinstance(CliRunner().invoke(app, [*arguments, "jsonl"]).exception, UsageError)


def test_from_idle_hours_to_thresholds_that_live_uses(set_of_one, tiny_bundle, tmp_path):
    _, video = set_of_one
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b.gasm")
    idle = tmp_path / "idle.npz"

    recorded = record_background([str(video)], bundle, 1.0, idle)
    hours = sum(recorded.hours.values())
    # The first window is full after four seconds, and the end is padded to a whole segment.
    assert 26 / 3600 <= hours <= 30 / 3600
    # A file that was read to its end is not recorded twice.
    again = record_background([str(video)], bundle, 1.0, idle)
    assert sum(again.hours.values()) == hours

    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(GateError, match="prove at most"):
        choose_threshold(bundle, idle, "1/day")
    assert (bundle / "manifest.json").read_bytes() == before

    result = choose_threshold(bundle, idle, "1000/hour")
    precision = json.loads(result.report.with_suffix(".json").read_text())["precision"]
    alarms = read_manifest(bundle).precisions[precision].alarms
    assert alarms is not None
    assert alarms.upper_per_day <= 24_000

    # `live` takes the thresholds and has as many events on these hours as the manifest states.
    live = live_events(video, bundle, tmp_path, "--precision", precision)
    assert sum(event["phase"] == "start" for event in live) == alarms.events


def test_idle_hours_of_another_model_are_refused(set_of_one, tiny_bundle, tmp_path):
    _, video = set_of_one
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b.gasm")
    idle = tmp_path / "idle.npz"
    record_background([str(video)], bundle, 1.0, idle)
    tree = json.loads((bundle / "manifest.json").read_text())
    tree["checkpoint_sha256"] = "f" * 64
    (bundle / "manifest.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match="another model"):
        choose_threshold(bundle, idle, "1/day")
    with pytest.raises(UsageError, match="another model"):
        record_background([str(video)], bundle, 1.0, idle)


@pytest.mark.parametrize("rate", ["", "x/day", "1/fortnight", "0/day", "-1/day", "inf/day"])
def test_rates_that_are_none(set_of_one, tiny_bundle, tmp_path, rate):
    with pytest.raises(UsageError, match="is no rate"):
        choose_threshold(tiny_bundle, tmp_path / "idle.npz", rate)
