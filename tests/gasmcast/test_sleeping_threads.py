"""Threads of OpenMP sleep while they wait, unless the user says otherwise."""

from __future__ import annotations

import os

import pytest

from gasmcast.sleeping_threads import let_threads_sleep


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "1000"}, None),
    ],
    ids=["nothing is set", "a policy is set", "a number of spins is set"],
)
def test_what_the_user_has_set_stays(monkeypatch, given, policy):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    let_threads_sleep()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
