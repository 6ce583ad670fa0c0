"""A bundle whose manifest contradicts its graphs is refused before anything runs."""

from __future__ import annotations

import json
import shutil

import pytest

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime.streaming_model import open_model


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy.gasm")


def edit(bundle, change):
    path = bundle / "manifest.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def refused(bundle, says):
    with pytest.raises(UsageError, match=says) as caught:
        open_model(bundle, "onnxruntime", threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("pixels", 64, r"takes no 'segments' of shape \(B, 2, 4, 64, 64, 3\)"),
        ("pixels", 32 * 10**9, "a clip is larger than 1 GiB"),
        ("pixels", 32 * 10**400, "a clip is larger than 1 GiB"),
        ("pixels", 33, "not a multiple of 32"),
        ("motion_frames", 10**12, "the frame rate is above 1000 fps"),
        ("segments", 8, "of a window is 8 x"),
        ("segments", 10**12, "a window is longer than 3600 s"),
        ("segment_s", 1e-300, "segment_s"),
        ("segment_s", 1e300, "segment_s"),
        ("segment_s", float("inf"), "segment_s"),
        ("segment_s", 10**400, "segment_s"),
    ],
)
def test_a_spec_that_the_graphs_do_not_have(bundle, field, value, says):
    edit(bundle, lambda tree: tree["spec"].update({field: value}))
    refused(bundle, says)


def test_encoder_and_head_swapped(bundle):
    def swap(tree):
        files = tree["files"]
        files["encoder.onnx"]["graph"], files["head.onnx"]["graph"] = "head", "encoder"

    edit(bundle, swap)
    refused(bundle, "takes no 'segments'")


def test_one_graph_for_both(bundle):
    """The head is a copy of the encoder, with the right checksum."""

    def replace(tree):
        shutil.copy(bundle / "encoder.onnx", bundle / "head.onnx")
        head = tree["files"]["head.onnx"]
        head["sha256"] = sha256_of(bundle / "head.onnx")
        head["size"] = (bundle / "head.onnx").stat().st_size

    edit(bundle, replace)
    refused(bundle, "gives no logits")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a", "b", "\ud800"], "not valid Unicode"),
        (["a", "b"], "gives 3 logits, and there are 2 labels"),
        (["a", "b", "b"], "not unique"),
        ([], "there are 0 labels"),
    ],
)
def test_labels_that_do_not_fit(bundle, labels, says):
    edit(bundle, lambda tree: tree.update(labels=labels))
    refused(bundle, says)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_temperature_that_is_none(bundle, value):
    edit(bundle, lambda tree: tree["precisions"]["fp32"].update(temperature=value))
    refused(bundle, "temperature")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format_version":' + "[" * 100_000])
def test_a_manifest_that_is_nested_too_deeply(bundle, text):
    (bundle / "manifest.json").write_text(text)
    refused(bundle, "nested too deeply")
