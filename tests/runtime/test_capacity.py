from dataclasses import replace

import numpy as np
import pytest

from gasmcast.labels import Labels
from gasmcast.runtime import capacity
from gasmcast.runtime.capacity import Capacity, fit
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import Model, OpenedModel, open_model
from gasmcast.spec import ClipSpec

SPEC = ClipSpec()


def opened(monkeypatch, latency, throughput):
    """Return a model whose measurement gives these capacities, without any engine."""
    bare = Model(None, None, SPEC, Labels(("a", "b")))
    wide = replace(bare, rows_at_once=2)
    model = replace(bare, for_throughput=None if throughput is None else lambda: wide)
    monkeypatch.setattr(
        capacity, "measure", lambda asked, *_, **__: throughput if asked is wide else latency
    )
    return OpenedModel(model, "int8 by a fake"), wide


# A segment costs 20 ms alone on all cores, and 15 ms among others.
FAST, FASTER = Capacity(0.018, 0.002, 0.018, 0.002), Capacity(0.026, 0.004, 0.013, 0.002)


@pytest.mark.parametrize(
    ("cameras", "budget_s", "measured", "wide"),
    [
        (0, None, (FAST, FASTER), False),  # files wait
        (1, None, (FAST, FASTER), False),  # one camera wants its decision early
        (2, None, (FAST, FASTER), True),
        (2, 0.060, (FAST, FASTER), True),  # two decisions one after the other fit just so
        (2, 0.059, (FAST, FASTER), False),
        (2, 0.039, (FAST, FASTER), False),
        (2, None, (FAST, Capacity(0.036, 0.004, 0.018, 0.002)), False),  # nothing is won
        (2, None, (Capacity(0.2, 0.06, 0.2, 0.06), FASTER), False),  # too late as it is
        (2, None, (FAST, None), False),  # the backend cannot
    ],
)
def test_several_cameras_get_engines_for_throughput_where_that_pays(
    monkeypatch, cameras, budget_s, measured, wide
):
    latency, throughput = measured
    model, other = opened(monkeypatch, latency, throughput)
    fitted = fit(model, LiveConfig(budget_s=budget_s), cameras)
    assert fitted.model is (other if wide else model.model)
    assert fitted.capacity is (throughput if wide else latency)
    assert fitted.description.endswith(", 2 segments at a time" if wide else "by a fake")


def test_capacity_counts_what_a_segment_costs_among_others():
    assert FAST.cameras(SPEC) == 22  # 450 / 20
    assert FASTER.cameras(SPEC) == 30  # 450 / 15
    assert FASTER.cameras(SPEC, hop=2) == 32  # 450 / 14
    assert "26 ms a segment, head 4 ms a window, 15 ms for both" in FASTER.sentence(SPEC)
    assert "for both" not in FAST.sentence(SPEC)


def test_engines_for_throughput_compute_the_same(tiny_bundle):
    model = open_model(tiny_bundle, "openvino", "fp32", 2).model
    wide = model.for_throughput()
    assert (model.rows_at_once, wide.rows_at_once) == (1, 2)
    assert wide.for_throughput is None
    assert wide.reopen().rows_at_once == 2  # an engine that hangs is replaced by its like

    pairs = np.random.default_rng(0).integers(0, 256, (3, *model.spec.pair_shape), np.uint8)
    for one, other in zip(model.encode(pairs), wide.encode(pairs), strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-5)
