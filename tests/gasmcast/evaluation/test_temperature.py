"""The temperature beside a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gasmcast.errors import UsageError
from gasmcast.evaluation.temperature import read_temperature, write_temperature
from gasmcast.files import sha256_of


def _scores(temperature: float) -> SimpleNamespace:
    return SimpleNamespace(temperature=temperature, clips=9, ece=0.2, ece_calibrated=0.1)


def test_a_temperature_belongs_to_weights_and_not_to_a_name(tmp_path: Path) -> None:
    best, last = tmp_path / "best.safetensors", tmp_path / "last.safetensors"
    best.write_bytes(b"first")
    last.write_bytes(b"other")
    assert read_temperature(best, sha256_of(best)) is None
    write_temperature(best, _scores(1.7), "validation")
    write_temperature(last, _scores(0.6), "validation")
    assert [read_temperature(path, sha256_of(path)) for path in (best, last)] == [1.7, 0.6]
    best.write_bytes(b"trained further")
    assert read_temperature(best, sha256_of(best)) is None


def test_a_damaged_file_is_one_sentence_and_the_next_evaluation_mends_it(tmp_path: Path) -> None:
    best = tmp_path / "best.safetensors"
    best.write_bytes(b"first")
    path = write_temperature(best, _scores(1.7), "validation")
    path.write_text(path.read_text()[:-3])
    with pytest.raises(UsageError, match=r"temperature\.json is damaged .*Remove it"):
        read_temperature(best, sha256_of(best))
    path.write_text(json.dumps({best.name: {"sha256": sha256_of(best)}}))
    with pytest.raises(UsageError, match=r"no temperature of best"):
        read_temperature(best, sha256_of(best))
    write_temperature(best, _scores(1.6), "validation")
    assert read_temperature(best, sha256_of(best)) == 1.6
