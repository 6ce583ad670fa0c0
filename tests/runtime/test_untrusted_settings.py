"""Camera lists and live settings from outside: used, or refused in one sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.errors import GasmcastError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import LabelView
from gasmcast.runtime.camera_list import CameraList
from gasmcast.runtime.live_settings import LiveConfig, load_live_config

LABELS = Labels(["push left", "push right", "hold"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 0, 2**63, float("inf"), float("nan"), 1e-320, 1e308]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["hold", "push left", "auto", "a/b", "../x", "${X}", "[", "**", "x" * 5000]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
FUZZ = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def settings_trees():
    keys = st.one_of(st.sampled_from(list(LiveConfig.model_fields)), st.text(max_size=8))
    return st.dictionaries(keys, VALUES, max_size=4)


def one_sentence(error: GasmcastError) -> None:
    assert error.exit_code in (2, 3, 5)
    assert error.what.strip()
    assert "Traceback" not in str(error)


@FUZZ
@given(st.one_of(settings_trees(), VALUES))
def test_live_settings(tmp_path, tree):
    path = tmp_path / "live.yaml"
    path.write_text(json.dumps(tree), "utf-8")  # JSON is YAML
    try:
        LabelView(LABELS, load_live_config(path))
    except GasmcastError as error:
        one_sentence(error)


SOURCES = st.one_of(
    st.sampled_from(["demo:", "demo:1", "0", "/dev/video7", "no.mp4", "rtsp://h/x", "@x", ""]),
    st.sampled_from(
        ["rtsp://u:p@h:99999/", "http://[::1", "concat:x", "x" * 300, "demo:" + "9" * 5000]
    ),
    SCALARS,
)
CAMERAS = st.fixed_dictionaries(
    {"source": SOURCES},
    optional={
        "name": st.one_of(SCALARS, st.sampled_from(["a", "b"])),
        "region": VALUES,
        "mask": VALUES,
        "max_fps": SCALARS,
        "settings": st.one_of(settings_trees(), VALUES),
        "other": VALUES,
    },
)


@FUZZ
@given(st.one_of(st.lists(st.one_of(CAMERAS, VALUES), max_size=3), VALUES), st.booleans())
def test_camera_lists(tmp_path, entries, bare):
    path = tmp_path / "cameras.yaml"
    path.write_text(json.dumps(entries if bare else {"cameras": entries}), "utf-8")
    try:
        CameraList([f"@{path}"], LiveConfig())
    except GasmcastError as error:
        one_sentence(error)


@pytest.mark.parametrize("key", ["smooth_s", "on", "temperature", "no_action", "gap_s", "stats_s"])
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_infinity_and_nan_are_no_settings(tmp_path, key, value):
    path = tmp_path / "live.yaml"
    path.write_text(f"{key}: {value}")
    with pytest.raises(GasmcastError, match=key):
        load_live_config(path)
