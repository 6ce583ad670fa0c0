"""Which model serves a number of cameras follows from measured costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.plan.machines import MACHINES, PRESETS
from gasmcast.plan.one_machine import MAX_LOAD, Candidate, plan_machine
from gasmcast.runtime.capacity import Capacity
from gasmcast.spec import ClipSpec

LARGE = Candidate("large", "int8", 200.0, 50.0)
LARGE_SLOW = Candidate("large", "fp32", 700.0, 200.0)
SMALL = Candidate("small", "int8", 20.0, 5.0)
MODELS = (LARGE_SLOW, LARGE, SMALL)


@pytest.mark.parametrize(
    ("cameras", "hop_s", "answer"),
    [
        (1, 0.5, "large in int8 serves 1 camera with a decision every 0.5 s."),
        (2, 0.5, "small in int8 serves 2 cameras with a decision every 0.5 s."),
        (18, 0.5, "small in int8 serves 18 cameras with a decision every 0.5 s."),
        (2, 2.0, "large in int8 serves 2 cameras with a decision every 2 s."),
        (
            20,
            0.5,
            (
                "Nothing serves 20 cameras with a decision every 0.5 s here: small in int8 serves "
                "18; it takes a machine 1.1 times as fast or 2 machines like this one or a hop of "
                "1 s."
            ),
        ),
    ],
)
def test_the_largest_model_that_serves_all_cameras(cameras: int, hop_s: float, answer: str) -> None:
    plan = plan_machine(cameras, hop_s, MODELS)
    assert plan.sentence() == answer
    assert [candidate.precision for candidate in plan.candidates] == ["int8", "int8"]


def test_the_arithmetic_and_what_would_have_to_change() -> None:
    plan = plan_machine(3, 1.0, MODELS)
    assert plan.chosen is SMALL
    assert plan.arithmetic(LARGE) == "3 x (2 x 200.0 + 50.0) ms = 1350 of 900 ms"
    # 3 x 200 ms are encoded in every 450: no hop is long enough.
    assert plan.change(LARGE) == "a machine 1.5 times as fast or 2 machines like this one"
    assert plan.change(SMALL) == ""


@pytest.mark.parametrize("hop", [1, 2, 8])
def test_live_admits_the_same_number_of_cameras(hop: int) -> None:
    spec = ClipSpec()
    costs = Capacity(SMALL.encode_ms / 1000, SMALL.fuse_ms / 1000)
    assert SMALL.cameras(hop) == costs.cameras(spec, hop)
    assert MAX_LOAD == 0.9


def test_costs_are_scaled_by_the_peak() -> None:
    machine = next(iter(MACHINES.values()))
    here = machine.candidates()
    half = machine.candidates({name: rate / 2 for name, rate in machine.peak.items()})
    assert {candidate.model for candidate in here} == set(PRESETS)
    for ours, slower in zip(here, half, strict=True):
        assert slower.encode_ms == pytest.approx(2 * ours.encode_ms)
        assert slower.fuse_ms == pytest.approx(2 * ours.fuse_ms)


def test_a_machine_of_the_table_on_the_command_line() -> None:
    name = next(iter(MACHINES))
    command = ["plan", "--cameras", "8", "--hop", "0.5", "--device", name]
    result = CliRunner().invoke(app, [*command, "--json"])
    record = json.loads(result.stdout)
    assert record["answer"].endswith("8 cameras with a decision every 0.5 s.")
    assert [row["model"] for row in record["candidates"]] == list(PRESETS)
    text = CliRunner().invoke(app, command).stdout
    assert record["answer"] in text
    assert "8 x (" in text


def test_more_cameras_than_anything_serves_is_one_sentence() -> None:
    command = ["plan", "--cameras", "100000", "--hop", "0.5", "--device", next(iter(MACHINES))]
    first = CliRunner().invoke(app, command).stdout.splitlines()[0]
    assert first.startswith("Nothing serves 100000 cameras")
    assert "machines like this one" in first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hop", "0.5"], "needs --cameras and --hop"),
        (["--cameras", "2", "--device", "x"], "needs --cameras and --hop"),
        (["--cameras", "2", "--hop", "0.5", "--device", "x"], "no such machine"),
        (["--cameras", "2", "--hop", "0.7", "--device", "{}"], "no multiple of a segment"),
        (["--cameras", "2", "--hop", "1", "--device", "{}", "-b", "b.gasm"], "Give one"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str) -> None:
    name = next(iter(MACHINES))
    result = CliRunner().invoke(app, ["plan", *(option.format(name) for option in options)])
    error = result.exception
    assert message in f"{error} {getattr(error, 'hint', '')}"


@pytest.mark.slow
def test_a_bundle_is_measured_here(tiny_bundle: Path) -> None:
    words = ["plan", "--cameras", "2", "--hop", "0.5", "--bundle", str(tiny_bundle), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert "measured on this machine now" in plan["origin"]
    assert plan["chosen"]["model"] == tiny_bundle.name
    chosen = next(row for row in plan["candidates"] if row["precision"] == "fp32")
    assert chosen["encode_ms"] > 0
    assert chosen["cameras"] >= 2
