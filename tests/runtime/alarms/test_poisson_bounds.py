"""Exact Poisson bounds against published tables."""

from __future__ import annotations

import pytest

from gasmcast.runtime.alarms.poisson_bounds import exceedance, hours_to_prove, upper_bound


# One half of the 0.95 quantile of chi-squared with 2 (n + 1) degrees of freedom, from tables.
@pytest.mark.parametrize(
    ("count", "bound"), [(0, 2.9957), (1, 4.7439), (2, 6.2958), (5, 10.5130), (10, 16.9622)]
)
def test_upper_bound_is_garwoods(count, bound):
    assert upper_bound(count) == pytest.approx(bound, abs=1e-4)


def test_three_days_without_an_event_prove_one_a_day():
    assert hours_to_prove(1.0) <= 72.0
    assert upper_bound(0) / 3 <= 1.0 < upper_bound(1) / 3


@pytest.mark.parametrize(
    ("count", "mean", "probability"),
    [(0, 5.0, 1.0), (1, 1.0, 0.632121), (3, 1.0, 0.080301), (10, 1.0, 1.1143e-7), (2, 0.0, 0.0)],
)
def test_exceedance(count, mean, probability):
    assert exceedance(count, mean) == pytest.approx(probability, rel=1e-4)
