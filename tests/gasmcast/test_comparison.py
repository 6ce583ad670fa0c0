import numpy as np
import pytest

from gasmcast.comparison import Tolerance, compare

RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 3, 20)).astype(np.float32)


def test_equal_tensors_pass_with_all_figures():
    c = compare("encoder", "semantic", "openvino", A, A)
    assert c
    assert (c.max_error, c.mean_error, c.clips) == (0, 0, 6)
    assert c.cosine == pytest.approx(1)
    assert c.snr_db == 200
    assert "ok" in str(c)


def test_the_worst_clips_are_named_worst_first():
    b = A.copy()
    b[4] += 0.5
    b[1] += 0.1
    c = compare("encoder", "motion", "onnxruntime", A, b)
    assert not c
    assert c.worst[:2] == (4, 1)
    assert "error" in c.why
    assert c.to_json()["passed"] is False


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_numbers_fail(bad):
    b = A.copy()
    b[2, 0, 0] = bad
    c = compare("head", "logits", "openvino", A, b)
    assert not c
    assert c.why == "values that are not numbers"


def test_zeros_agree_with_zeros():
    zero = np.zeros((2, 4), np.float32)
    assert compare("encoder", "semantic", "openvino", zero, zero)


def test_noise_of_known_size_gives_its_snr():
    noise = A + 0.01 * RNG.normal(size=A.shape)
    c = compare("encoder", "semantic", "openvino", A, noise, tolerance=Tolerance(error=1, cosine=0))
    assert c.snr_db == pytest.approx(40, abs=1)


def test_a_few_strays_pass_where_a_choice_lies_before_and_nowhere_else():
    a = RNG.normal(size=(4, 5000))
    b = a.copy()
    b[1, :3] += 0.05  # 3 of 20000 values
    assert not compare("encoder", "motion", "openvino", a, b)
    chosen = Tolerance(stray=1e-3)
    few = compare("encoder", "semantic", "openvino", a, b, tolerance=chosen)
    assert few, few.why
    assert few.stray == pytest.approx(3 / 20000)
    b[2, :30] += 0.05
    many = compare("encoder", "semantic", "openvino", a, b, tolerance=chosen)
    assert not many
    assert "of the values" in many.why
    b = a.copy()
    b[3, 0] = np.nan
    assert not compare("encoder", "semantic", "openvino", a, b, tolerance=chosen)
