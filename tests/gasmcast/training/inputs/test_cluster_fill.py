"""A feature cache that a Ray cluster fills is the one that this machine fills."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from gasmcast.tensorfile import read_tensors  # noqa: E402 - needs torch


@pytest.mark.slow
def test_shards_of_a_cluster_are_those_of_one_machine(tiny_set, tmp_path):
    rows, indices = {}, {}
    for name, words in {"here": ["--workers", "0"], "ray": ["--ray", "local"]}.items():
        command = ["cache", "demo", "--data", str(tiny_set), "--out", str(tmp_path / name)]
        done = subprocess.run(
            [sys.executable, "-m", "gasmcast", *command, *words, "--set", "model.freeze=true"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Wrote" in done.stdout
        for path in sorted((tmp_path / name).rglob("*.safetensors")):
            place = path.relative_to(tmp_path / name)
            rows[name, place] = read_tensors(path)[0]["rows"]
        indices[name] = [path.read_text() for path in sorted((tmp_path / name).rglob("*.json"))]

    # Other numbers of threads round differently.
    assert len(indices["here"]) == 2
    assert indices["ray"] == indices["here"]
    places = [place for name, place in rows if name == "here"]
    assert len(rows) == 2 * len(places)
    for place in places:
        torch.testing.assert_close(rows["ray", place], rows["here", place], rtol=1e-2, atol=1e-3)
