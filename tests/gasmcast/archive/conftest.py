"""Archives of tiny videos, and their labels."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory):
    """Write 40 videos of half a second, and return their folder."""
    folder = tmp_path_factory.mktemp("archive")
    first = folder / "000.avi"
    writer = cv2.VideoWriter(str(first), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 32))
    rng = np.random.default_rng(0)
    for _ in range(5):
        writer.write(rng.integers(0, 255, (32, 48, 3), np.uint8))
    writer.release()
    for number in range(1, 40):
        shutil.copy(first, folder / f"{number:03d}.avi")
    return folder


@pytest.fixture
def inputs_of():
    """Count in how many record files of an output folder each input is."""
    parquet = pytest.importorskip("pyarrow.parquet")

    def count(out):
        counts = Counter()
        for path in out.glob("records/*/*.parquet"):
            counts.update(set(parquet.read_table(path, columns=["input"])["input"].to_pylist()))
        return counts

    return count


@pytest.fixture
def failed_of():
    """Return `failed.jsonl` of an output folder as reasons by input."""

    def read(out):
        rows = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
        return {row["input"]: row["reason"] for row in rows}

    return read
