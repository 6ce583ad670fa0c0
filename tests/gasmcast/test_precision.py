from importlib import import_module

import pytest

from gasmcast.precision import (
    PRECISIONS,
    TENSORRT_PRECISIONS,
    file_name,
    in_bf16,
    stored_as,
)

export_verb = import_module("gasmcast.commands.export")
engine_verb = import_module("gasmcast.commands.engine")


@pytest.mark.parametrize(
    ("precision", "file"),
    [
        ("fp32", "encoder.onnx"),
        ("bf16", "encoder.onnx"),
        ("int8", "encoder.int8.onnx"),
        ("int8_bf16", "encoder.int8.onnx"),
        ("fp16", "encoder.fp16.onnx"),
        ("int8_fp16", "encoder.int8_fp16.onnx"),
    ],
)
def test_the_file_that_a_precision_runs(precision, file):
    assert file_name("encoder", precision) == file


def test_what_another_runs_on_is_made_before_it():
    for precision in PRECISIONS:
        assert PRECISIONS.index(stored_as(precision)) <= PRECISIONS.index(precision)
        assert in_bf16(precision) == (stored_as(precision) != precision)


def test_tensorrt_runs_precisions_with_files_of_their_own():
    for precision in TENSORRT_PRECISIONS:
        assert precision in PRECISIONS
        assert stored_as(precision) == precision


def test_the_verbs_offer_the_same_precisions():
    assert {choice.value for choice in export_verb.PrecisionChoice} == {*PRECISIONS, "all"}
    assert [choice.value for choice in engine_verb.PrecisionChoice] == list(TENSORRT_PRECISIONS)
