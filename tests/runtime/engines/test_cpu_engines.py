from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.files import sha256_of
from gasmcast.manifest import Measured
from gasmcast.runtime.bundle import Bundle, fastest_on_cpu
from gasmcast.runtime.engines import choose, choose_backend, missing_bf16, open_engine


@pytest.fixture(params=["onnxruntime", "openvino"])
def encoder(request, tiny_bundle):
    return open_engine(tiny_bundle / "encoder.onnx", request.param, 1)


def pair(spec, batch=1):
    return np.random.default_rng(batch).integers(0, 256, (batch, *spec.pair_shape), np.uint8)


def test_inputs_and_outputs_are_told(encoder, tiny_bundle):
    spec = Bundle.open(tiny_bundle).manifest.spec
    assert encoder.inputs["segments"].shape == (None, *spec.pair_shape)
    assert encoder.inputs["segments"].dtype == np.uint8
    assert encoder.outputs["motion"].shape == (None, 2, 1, 8)
    assert "threads" in encoder.describe()


def test_backends_agree_and_the_batch_is_free(tiny_bundle):
    spec = Bundle.open(tiny_bundle).manifest.spec
    one, other = (
        open_engine(tiny_bundle / "encoder.onnx", name, 1) for name in ("onnxruntime", "openvino")
    )
    for batch in (1, 3):
        a, b = one.run({"segments": pair(spec, batch)}), other.run({"segments": pair(spec, batch)})
        for name, value in a.items():
            assert value.shape[0] == batch
            np.testing.assert_allclose(value, b[name], atol=1e-4, rtol=1e-4)


def test_what_is_returned_belongs_to_the_caller(encoder, tiny_bundle):
    spec = Bundle.open(tiny_bundle).manifest.spec
    first = encoder.run({"segments": pair(spec)})
    kept = {name: value.copy() for name, value in first.items()}
    encoder.run({"segments": np.zeros((1, *spec.pair_shape), np.uint8)})
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)
        first[name][...] = 0  # and may be written


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "takes segments, it was given nothing"),
        ({"clip": np.zeros((1, 2), np.uint8)}, "it was given clip"),
        (
            {"segments": np.zeros((1, 2, 4, 32, 32, 3), np.float32)},
            "must be .* uint8, it is .* float32",
        ),
        ({"segments": np.zeros((1, 2, 4, 32, 33, 3), np.uint8)}, "must be"),
        ({"segments": np.zeros((0, 2, 4, 32, 32, 3), np.uint8)}, "empty batches"),
    ],
)
def test_wrong_inputs_are_one_sentence(encoder, feeds, words):
    with pytest.raises(UsageError, match=words):
        encoder.run(feeds)


def test_a_file_that_is_no_network(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"rubbish")
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(UsageError, match="cannot read"):
            open_engine(path, backend)
    with pytest.raises(UsageError, match="no network"):
        open_engine(tmp_path / "none.onnx")


def test_auto_says_what_it_took_and_why(monkeypatch):
    missing = {"tensorrt": "no device", "openvino": "", "onnxruntime": ""}
    monkeypatch.setattr(choose, "_missing", missing.__getitem__)
    assert choose_backend() == ("openvino", "auto; no tensorrt: no device")
    missing["openvino"] = "not installed"
    assert choose_backend()[0] == "onnxruntime"
    missing["onnxruntime"] = "not installed"
    with pytest.raises(MachineError, match="No backend can be used here"):
        choose_backend()
    with pytest.raises(MachineError, match="openvino cannot be used here: not installed"):
        choose_backend("openvino")
    with pytest.raises(UsageError, match="No backend 'tflite'"):
        choose_backend("tflite")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_missing_package_is_one_sentence(monkeypatch, backend, tiny_bundle):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(MachineError, match=f"package {backend} is not installed"):
        open_engine(tiny_bundle / "encoder.onnx", backend)


def test_openvino_keeps_what_it_compiles_outside_the_bundle(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = sorted(tiny_bundle.iterdir())
    open_engine(tiny_bundle / "head.onnx", "openvino", 1)
    (folder,) = (tmp_path / "gasmcast" / "openvino").iterdir()
    assert folder.name.startswith(sha256_of(tiny_bundle / "head.onnx")[:24])
    assert any(folder.iterdir())
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(tiny_bundle.iterdir()) == before
    again = open_engine(tiny_bundle / "head.onnx", "openvino", 1)  # from the cache
    assert set(again.inputs) == {"semantic", "motion"}


def test_a_cache_that_cannot_be_written_is_done_without(tiny_bundle, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert open_engine(tiny_bundle / "head.onnx", "openvino", 1).outputs


@pytest.mark.parametrize("throughput", [False, True])
def test_openvino_computes_rows_in_turn_or_at_once(tiny_bundle, throughput):
    spec = Bundle.open(tiny_bundle).manifest.spec
    feeds = {"segments": pair(spec, 5)}
    engine = open_engine(tiny_bundle / "encoder.onnx", "openvino", 2, throughput=throughput)
    assert engine.inputs["segments"].shape == (None, *spec.pair_shape)
    assert engine.rows_at_once == (2 if throughput else 1)
    assert ("2 rows at once" in engine.describe()) == throughput
    together = engine.run(feeds)
    for row in range(5):
        alone = engine.run({"segments": feeds["segments"][row : row + 1]})
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][row : row + 1], value)


def test_a_row_that_fails_waits_for_the_other_rows(tiny_bundle, monkeypatch):
    spec = Bundle.open(tiny_bundle).manifest.spec
    engine = open_engine(tiny_bundle / "encoder.onnx", "openvino", 2, throughput=True)
    want = engine.run({"segments": pair(spec, 2)})
    first, second = engine._requests

    class Failing:
        """Request that is started and fails."""

        def start_async(self, *args, **kwargs):
            second.start_async(*args, **kwargs)

        def wait(self):
            second.wait()
            raise RuntimeError("the device is gone")

    monkeypatch.setattr(engine, "_requests", [Failing(), first])
    with pytest.raises(MachineError, match="the device is gone"):
        engine.run({"segments": pair(spec, 2)})
    assert first.latency > 0  # waited for: reading it from a running request would raise

    # The next call finds idle requests.
    monkeypatch.setattr(engine, "_requests", [first, second])
    again = engine.run({"segments": pair(spec, 2)})
    for name, value in again.items():
        np.testing.assert_array_equal(value, want[name])


def test_what_an_export_tries_leaves_nothing_in_the_cache(tiny_bundle, tmp_path, monkeypatch):
    from gasmcast.export.checks.reference_engines import open_uncached

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_uncached(tiny_bundle / "head.onnx", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_falls_back_graph_by_graph(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    assert bundle.precisions() == ("fp32",)
    assert bundle.best_precision("onnxruntime") == "fp32"
    assert bundle.measured("int8").temperature == 1.0
    with pytest.raises(UsageError, match="no encoder in int8"):
        bundle.engine("encoder", "int8", "onnxruntime")


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({"int8": 4.0, "fp32": 9.0}, "int8"),
        ({"int8": 12.0, "fp32": 9.0}, "fp32"),
        ({"int8": None, "fp32": 1.0}, "int8"),
        ({}, "int8"),
    ],
)
def test_a_cpu_runs_the_precision_that_was_measured_to_be_fastest(times, best, tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    entry = bundle.manifest.files["encoder.onnx"]
    files = {
        **bundle.manifest.files,
        "encoder.int8.onnx": entry.model_copy(update={"precision": "int8"}),
    }
    measured = {p: Measured(clips=9, ms=ms) for p, ms in times.items()}
    changed = Bundle(
        bundle.path, bundle.manifest.model_copy(update={"files": files, "precisions": measured})
    )
    assert changed.best_precision("openvino") == best


@pytest.mark.parametrize(("lacking", "best"), [("", "int8_bf16"), ("no BF16", "int8")])
def test_bf16_is_taken_where_the_processor_has_it(lacking, best, tiny_bundle, monkeypatch):
    bundle = Bundle.open(tiny_bundle)
    stored = bundle.manifest.files
    files = {
        f"{graph}.int8.onnx": stored[f"{graph}.onnx"].model_copy(update={"precision": "int8"})
        for graph in ("encoder", "head")
    }
    measured = {
        p: Measured(clips=9, ms=ms)
        for p, ms in {"fp32": 9.0, "int8": 4.0, "int8_bf16": 3.0, "bf16": 5.0}.items()
    }
    manifest = bundle.manifest.model_copy(
        update={"files": {**stored, **files}, "precisions": measured}
    )
    changed = Bundle(bundle.path, manifest)
    monkeypatch.setattr("gasmcast.runtime.engines.openvino.missing_bf16", lambda: lacking)
    assert changed.precisions() == ("bf16", "fp32", "int8", "int8_bf16")
    assert changed.best_precision("openvino") == best
    assert changed.best_precision("onnxruntime") == "int8"
    assert changed.file("encoder", "int8_bf16") == "encoder.int8.onnx"
    assert changed.file("head", "bf16") == "head.onnx"
    with pytest.raises(
        UsageError, match=r"no encoder in fp16\. It has bf16, fp32, int8, int8_bf16: export"
    ):
        changed.file("encoder", "fp16")
    without = manifest.model_copy(update={"precisions": {}})
    assert Bundle(bundle.path, without).precisions() == (
        "fp32",
        "int8",
    )  # nothing that was not measured


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({}, "int8"),
        ({"fp32": 9.0, "int8": 4.0}, "int8"),
        ({"fp32": 4.0, "int8": 9.0}, "fp32"),
        ({"fp32": 9.0, "int8": None, "int8_bf16": 3.0}, "int8"),
        ({"fp32": None, "int8": 4.0, "bf16": 1.0}, "int8"),
        ({"fp32": 9.0, "int8": 4.0, "bf16": 3.0}, "bf16"),
    ],
)
def test_bf16_that_was_not_measured_beside_all_others_is_not_taken(times, best):
    assert (
        fastest_on_cpu(
            {p: times.get(p) for p in ("bf16", "fp16", "fp32", "int8", "int8_bf16", "int8_fp16")}
        )
        == best
    )
    assert fastest_on_cpu({"fp16": 1.0}) is None


def test_openvino_says_that_it_computes_fp16_in_fp32(vit_block, tmp_path):
    from gasmcast.export.graphs.fp16 import to_fp16

    onnx = pytest.importorskip("onnx")
    onnx.save(vit_block[0], str(tmp_path / "head.onnx"))
    onnx.save(to_fp16(vit_block[0]), str(tmp_path / "head.fp16.onnx"))
    plain, half = (
        open_engine(tmp_path / name, "openvino", 1).describe()
        for name in ("head.onnx", "head.fp16.onnx")
    )
    assert half == f"{plain}; its FP16 computed in FP32"


def test_bf16_without_it_is_one_sentence(tiny_bundle, monkeypatch):
    monkeypatch.setattr(
        "gasmcast.runtime.engines.openvino.missing_bf16",
        lambda: "this processor does not compute in BF16",
    )
    with pytest.raises(MachineError, match="BF16 is not available here: this processor"):
        open_engine(tiny_bundle / "head.onnx", "openvino", 1, bf16=True)
    with pytest.raises(MachineError, match="onnxruntime computes a file in the types"):
        open_engine(tiny_bundle / "head.onnx", "onnxruntime", 1, bf16=True)


@pytest.mark.skipif(
    bool(missing_bf16("openvino")), reason=f"no BF16 here: {missing_bf16('openvino')}"
)
def test_bf16_rounds_the_rest_and_keeps_the_ports(tiny_bundle):
    exact, rounded = (
        open_engine(tiny_bundle / "encoder.onnx", "openvino", 1, bf16=bf16)
        for bf16 in (False, True)
    )
    assert rounded.outputs == exact.outputs
    assert "the rest in BF16" in rounded.describe()
    assert "BF16" not in exact.describe()
    feeds = {"segments": pair(Bundle.open(tiny_bundle).manifest.spec)}
    want, got = exact.run(feeds), rounded.run(feeds)
    for name, value in want.items():
        error = np.linalg.norm(got[name] - value) / np.linalg.norm(value)
        assert 1e-6 < error < 0.05


def test_signals_arrive_after_engines_have_gone(tiny_bundle):
    """With one Core per engine, the other process ends with SIGSEGV on CPUs with AVX-512."""
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from gasmcast.runtime.engines.openvino import compile_graph\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('arrived'))\n"
        "engines = [compile_graph(Path(sys.argv[1]), 1, None) for _ in range(4)]\n"
        "while engines: del engines[0]\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_bundle / "encoder.onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "arrived\n"), done.stderr
