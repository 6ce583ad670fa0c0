"""Manifests that no export writes: always one sentence, never a traceback."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.manifest import label_problem, read_manifest

GOOD = {
    "format_version": 1,
    "gasmcast": "1.0",
    "created": "2026-01-01T00:00:00+00:00",
    "labels": ["Holding something", "Moving something up"],
    "spec": {},
    "model": {},
    "checkpoint_sha256": "00",
    "files": {},
    "precisions": {"fp32": {"clips": 12, "temperature": 1.5, "no_action": 2.0}},
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({**GOOD, **changes}))
    return folder


def test_a_manifest_as_an_export_writes_it_is_read(tmp_path):
    assert read_manifest(write(tmp_path)).labels == tuple(GOOD["labels"])


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf, "much", None])
def test_a_temperature_must_be_positive_and_finite(tmp_path, value):
    precisions = {"fp32": {"clips": 1, "temperature": value}}
    with pytest.raises(UsageError, match=r"precisions\.fp32\.temperature"):
        read_manifest(write(tmp_path, precisions=precisions))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_action", math.nan),
        ("no_action", math.inf),
        ("top1", 1.5),
        ("agreement", -0.1),
        ("loss_interval", [0, math.inf]),
        ("ms", -1),
        ("ms", math.nan),
        ("clips", -1),
    ],
)
def test_figures_are_in_their_range(tmp_path, name, value):
    precisions = {"fp32": {"clips": 1, name: value}}
    with pytest.raises(UsageError, match=rf"precisions\.fp32\.{name}"):
        read_manifest(write(tmp_path, precisions=precisions))


@pytest.mark.parametrize(
    "label",
    ["", " ", "a\nb", "\x1b[31mred", "bell\x07", "c1\x9b31m", "\ud800", "rtl\u202e", "x" * 1001],
)
def test_class_names_are_one_line_of_valid_text(tmp_path, label):
    assert label_problem(label)
    with pytest.raises(UsageError, match="labels: ") as caught:
        read_manifest(write(tmp_path, labels=["Holding something", label]))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "label",
    ['Pouring {} into "it"', "Größe <b>", "杯を置く", "a\u200db"],
)
def test_class_names_of_any_language_are_read(tmp_path, label):
    assert not label_problem(label)
    assert read_manifest(write(tmp_path, labels=[label, "b"])).labels[0] == label


@pytest.mark.parametrize(
    "spec",
    [
        {"segments": 10**400},
        {"segments": 10**9},
        {"segment_s": 1e-300},
        {"segment_s": 1e300},
        {"segment_s": math.inf},
        {"segment_s": math.nan},
        {"motion_frames": 10**6, "segment_s": 1},
        {"pixels": 32 * 10**6},
        {"pixels": 0},
        {"semantic_frames": 0},
    ],
)
def test_a_wild_clip_spec_is_refused(tmp_path, spec):
    with pytest.raises(UsageError, match=r"spec|damaged"):
        read_manifest(write(tmp_path, spec=spec))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "", "null", "3", "[]", "\xff"])
def test_what_is_no_manifest_is_one_sentence(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nerror: fine", "../x", "/etc/passwd", "", "\ud800"])
def test_a_file_name_cannot_forge_a_line(tmp_path, name):
    files = {name: {"sha256": "0", "size": 1}}
    with pytest.raises(UsageError, match="no file of a bundle") as caught:
        read_manifest(write(tmp_path, files=files))
    assert str(caught.value).isprintable()


def test_a_name_that_is_too_long_is_missing(tmp_path):
    with pytest.raises(UsageError, match="lacks xxx"):
        read_manifest(write(tmp_path, files={"x" * 5000: {"sha256": "0", "size": 1}}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=12,
)


@given(
    changes=st.dictionaries(st.sampled_from([*GOOD, "counts", "extra"]), json_values, max_size=3)
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_value_of_a_manifest_gives_a_traceback(tmp_path, changes):
    sentence = ""
    try:
        read_manifest(write(tmp_path, **changes))
    except UsageError as error:
        sentence = str(error)
    assert "\n" not in sentence


@given(text=st.text(), place=st.integers(0, 400), length=st.integers(0, 30))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_damage_of_a_manifest_gives_a_traceback(tmp_path, text, place, length):
    whole = json.dumps(GOOD)
    damaged = whole[:place] + text + whole[place + length :]
    (tmp_path / "manifest.json").write_bytes(damaged.encode("utf-8", "surrogatepass"))
    sentence = ""
    try:
        read_manifest(tmp_path)
    except UsageError as error:
        sentence = str(error)
    assert "\n" not in sentence
