"""The cost model follows from its figures, and its figures from their sources."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.plan.archive_cost import plan_archive
from gasmcast.plan.cost_figures import BOXES, FIGURES, TRAINING_FIGURES
from gasmcast.plan.fleet import plan_fleet
from gasmcast.plan.training_cost import plan_training

ROOT = Path(__file__).resolve().parents[3]


def test_a_fleet_by_hand():
    plan = plan_fleet(1000, fps=25.0)
    boxes = dict(zip(BOXES, plan.boxes, strict=True))
    # 16 cores, 70 % used; a camera takes 25 / 205 to decode and 2 x 0.601 cores to compute.
    assert boxes["cpu"].cameras == int(11.2 / (25 / 205 + 1.202)) == 8
    assert boxes["cpu"].boxes == 125
    # 121 T x 0.3 x 0.7 by 2 x 2 x 96 G.
    assert boxes["l4"].computed == int(121e12 * 0.21 / 384e9) == 66
    assert boxes["l4"].decoded == int(11.2 * 205 / 25) == 91
    assert boxes["l4"].bottleneck == "the network"
    assert plan.frames_mbit == 4000
    assert plan.frames_tb_day == pytest.approx(43.2)
    assert plan.events_mbit == pytest.approx(2 * 1000 / 60 * 277 * 8 / 1e6)


def test_the_bottleneck_moves_to_decoding():
    fast = plan_fleet(100, fps=60.0)
    assert fast.boxes[-1].bottleneck == "decoding on the CPU"


def test_an_archive_by_hand():
    plan = plan_archive(10**9, clip_s=4.0, hours=168.0)
    assert plan.segments == 8
    assert plan.core_hours == pytest.approx(10**9 * (8 * 0.601 + 100 / 205) / 3600)
    assert plan.machines == pytest.approx(plan.core_hours / 168 / 16, abs=1)
    assert plan.output_tb == pytest.approx(6.85)
    assert plan_archive(1, clip_s=1.0).segments == 8
    assert plan_archive(1, clip_s=60.0).segments == 120


def test_training_by_hand():
    rows = {row.gpus: row for row in plan_training(168_913, epochs=40).rows}
    assert list(rows) == [1, 2, 4, 8, 16, 32, 64]
    # 989 T x 0.3 by 1.4 T a clip; nothing is exchanged.
    one = rows[1]
    assert one.clips_per_s == pytest.approx(989 * 0.3 / 1.4)
    assert one.total_h == pytest.approx(168_913 * 40 / one.clips_per_s / 3600)
    assert one.decode_cores == 22
    assert (one.accumulate, one.update_clips, one.learning_rate) == (8, 64, 3e-4)

    # Eight machines: 7/4 of 68 MB among cards at 100 GB/s and among machines at 12.5 GB/s.
    most = rows[64]
    step_s = 8 / one.clips_per_s
    exchange_s = 1.75 * 0.068 / 100 + 1.75 * 0.068 / 12.5
    assert most.nodes == 8
    assert most.exchange_share == pytest.approx(exchange_s / (step_s + exchange_s))
    assert most.clips_per_s == pytest.approx(64 * one.clips_per_s * (1 - most.exchange_share))
    assert most.learning_rate == pytest.approx(3e-4 * 8**0.5)
    assert most.read_mb_s == pytest.approx(most.clips_per_s * 0.103)
    # 8 machines of 64 cores decode 5,120 clips a second.
    assert most.limited_clips_per_s == 5120


def test_measured_figures_stand_on_their_page():
    for figure in (FIGURES | TRAINING_FIGURES).values():
        for page in re.findall(r"docs/[\w/]+\.md", figure.source):
            assert (ROOT / page).is_file()
    page = (ROOT / "docs/experiments/performance.md").read_text()
    assert "| 601 |" in page
    assert "96 G" in page
    assert "42 MB per further camera" in page
    page = (ROOT / "docs/howto/ssv2.md").read_text()
    assert "1.40 TFLOP" in page
    assert "17.1" in page
    assert "193,690 x 40 clips" in page


def test_figures_can_be_replaced():
    figures = dict(FIGURES)
    figures["stream_mbit"] = replace(figures["stream_mbit"], value=8.0)
    assert plan_fleet(10, figures=figures).frames_mbit == 80


def test_the_verb_says_what_is_assumed():
    done = CliRunner().invoke(app, ["plan", "--cameras", "1000", "--clips", "1000000"])
    assert done.exit_code == 0
    assert "1000 cameras" in done.output
    assert "assumed: assumption; no card was measured" in done.output
    done = CliRunner().invoke(app, ["plan", "--cameras", "10", "--stream-mbit", "2", "--json"])
    tree = json.loads(done.output)
    assert tree["fleet"]["frames_mbit"] == 20
    assert tree["figures"]["stream_mbit"]["source"] == "given"
    assert tree["training"] is None
    assert CliRunner().invoke(app, ["plan"]).exit_code != 0


def test_the_verb_plans_a_training_with_the_speed_of_a_site():
    words = ["plan", "--train-clips", "168913", "--core-clips", "5"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "5 training clips a core second (assumed: given)" in done.output
    assert "cameras" not in done.output
    tree = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert tree["training"]["rows"][0]["decode_cores"] == 43


def test_scale_md_shows_what_the_verb_prints():
    page = (ROOT / "docs/scale.md").read_text()
    for row in plan_training(168_913).rows:
        start = f"| {row.gpus} | {row.update_clips} | {row.learning_rate:.1e} |"
        numbers = f" {row.exchange_share:.0%} | {row.clips_per_s:,.0f} | {row.decode_cores:,} |"
        assert start + numbers in page
    for box in plan_fleet(1000).boxes:
        assert f"| {box.cameras} | {box.boxes} |" in page
