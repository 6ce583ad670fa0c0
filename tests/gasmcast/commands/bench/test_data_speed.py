"""Speed of the data path: every stage is measured, and the shares follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.commands.bench.data_speed import DataSpeed, measure_data
from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import read_split
from gasmcast.spec import ClipSpec


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    (root / "labels.json").write_text('{"A": "0", "B": "1"}')
    (root / "train.json").write_text(
        json.dumps([{"id": str(i), "template": "AB"[i % 2]} for i in range(4)])
    )
    for i in range(4):
        writer = cv2.VideoWriter(
            str(root / f"{i}.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)
        )
        for k in range(8):
            writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
        writer.release()
    return root


def test_stages(root: Path) -> None:
    stages: list[str] = []
    spec = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=32)
    speed = measure_data(
        read_split(root, "train"),
        spec,
        AugmentConfig(),
        workers=0,
        repeats=1,
        progress=stages.append,
    )
    assert stages == [
        "one_decode",
        "one_evaluation",
        "one_training",
        "loader_decode",
        "loader_training",
    ]
    assert all(getattr(speed, stage) > 0 for stage in stages)
    assert speed.share == speed.loader_training / speed.loader_decode
    assert speed.to_json()["share"] == speed.share
    assert isinstance(speed, DataSpeed)


def test_command(root: Path) -> None:
    result = CliRunner().invoke(
        app, ["bench", "data", "demo", "--data", str(root), "--workers", "0", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["clips"] == 4
