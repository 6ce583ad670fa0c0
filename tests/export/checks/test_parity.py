import numpy as np

from gasmcast.comparison import Tolerance, compare
from gasmcast.export.checks.parity import ParityReport, compare_logits

RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 3, 20)).astype(np.float32)


def test_another_class_on_top_fails_even_when_small():
    logits = np.array([[1.0, 0.9, 0.0], [2.0, 0.0, 0.0]])
    other = logits + np.array([[0, 0.2, 0], [0, 0, 0]])
    c = compare_logits(
        "complete", "openvino", logits, other, tolerance=Tolerance(error=0.01, cosine=0, top1=1)
    )
    assert c.top1 == 0.5
    assert c.top5 == 1.0
    assert not c


def test_a_tie_within_tolerance_is_no_disagreement():
    logits = np.array([[1.0, 1.0 - 1e-7, 0.0]])
    assert compare_logits("head", "openvino", logits, logits[:, [1, 0, 2]]).top1 == 1.0


def test_the_report_says_which_component_broke_first():
    good, bad = (
        compare("encoder", "semantic", "openvino", A, A),
        compare("head", "logits", "openvino", A, A + 1),
    )
    assert ParityReport((good,))
    found = ParityReport((good, bad))
    assert not found
    assert found.broken is bad
    assert "broken by the head" in str(found)
