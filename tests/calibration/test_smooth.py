import numpy as np
import onnxruntime
import pytest

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import insert_qdq
from gasmcast.calibration.quantize import Recipe, collect_ranges
from gasmcast.calibration.ranges import collect_statistics


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]


def snr(exact, given):
    return 10 * np.log10((exact**2).mean() / ((exact - given) ** 2).mean())


@pytest.fixture
def outliers(vit_block_with):
    return vit_block_with(outlier=400.0)


def test_smoothing_changes_nothing_in_fp32(outliers):
    model, feeds = outliers
    calibrated = collect_ranges(model, lambda: iter(feeds), threads=1)
    assert calibrated.smoothed
    for feed in feeds[:2]:
        np.testing.assert_allclose(
            run(calibrated.model, feed["x"]), run(model, feed["x"]), rtol=2e-3, atol=2e-3
        )


def test_smoothing_saves_what_plain_min_max_loses(outliers):
    model, feeds = outliers
    found = list(candidates(model.graph))
    stats = collect_statistics(model, found, iter(feeds), threads=1)
    plain = insert_qdq(model, found, {n: s.top for n, s in stats.items()})
    policy = collect_ranges(model, lambda: iter(feeds), threads=1).quantize(Policy())
    exact = run(model, feeds[0]["x"])
    bad, good = snr(exact, run(plain, feeds[0]["x"])), snr(exact, run(policy, feeds[0]["x"]))
    assert good > bad + 10, (bad, good)
    assert good > 25


def test_it_folds_into_a_layer_norm_that_only_linears_read(outliers):
    model, feeds = outliers
    calibrated = collect_ranges(model, lambda: iter(feeds), threads=1)
    first = next(s for s in calibrated.smoothed if s.tensor == "n1")
    assert first.folded
    assert first.outlier_ratio > 10
    assert first.error_after < first.error_before


def test_without_outliers_nothing_is_smoothed(vit_block):
    model, feeds = vit_block
    assert not collect_ranges(model, lambda: iter(feeds), threads=1).smoothed


def test_smoothing_can_be_off(outliers):
    model, feeds = outliers
    assert not collect_ranges(
        model, lambda: iter(feeds), Recipe(smoothing=False), threads=1
    ).smoothed
