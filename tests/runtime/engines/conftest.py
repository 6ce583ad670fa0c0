"""Fixtures of the engines: a machine with a fake TensorRT and a fake CUDA."""

from __future__ import annotations

import pytest

from tests.runtime.engines.fake_tensorrt import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Machine:
    fake = Machine()
    fake.install(monkeypatch, tmp_path / "cache")
    return fake


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "encoder.fp16.onnx"
    path.write_bytes(b"\x12\x04fake")  # an ONNX file that only names its producer
    return path
