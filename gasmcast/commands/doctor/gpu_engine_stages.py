"""Stages of the GPU proof on exported graphs: ONNX Runtime, TensorRT, live, cameras, cache."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from gasmcast.commands.doctor.gpu_workplace import MissingError, StageFailedError, Workplace

if TYPE_CHECKING:
    from gasmcast.runtime.engines import Engine

__all__ = [
    "cameras",
    "engine_cache",
    "live_equals_forward",
    "make_bundle",
    "onnxruntime_parity",
    "tensorrt_engines",
]

MIN_CUDA_COSINE = 0.999
"""Least cosine of ONNX Runtime on CUDA, which computes in TF32, and on the CPU."""
MAX_LIVE_ERROR = 1e-3
_TIMING_S = 3.0


def make_bundle(work: Workplace) -> None:
    """Export a model of random weights in FP32 and INT8."""
    from gasmcast.export.random_bundle import random_bundle

    made = random_bundle(work.preset, lambda stage, *_: work.report(at=stage))
    folder = work.folder / "model.gasm"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    work.figures.pop("at", None)
    work.report(megabytes=round(size / 1e6))


def onnxruntime_parity(work: Workplace) -> None:
    """Compare ONNX Runtime on CUDA with ONNX Runtime on the CPU."""
    from gasmcast.comparison import compare
    from gasmcast.runtime.engines.choose import open_engine
    from gasmcast.runtime.engines.onnxruntime import load_onnxruntime
    from gasmcast.runtime.engines.random_feeds import random_feeds

    runtime = load_onnxruntime()
    provider = "CPUExecutionProvider" if work.rehearse else "CUDAExecutionProvider"
    if provider not in runtime.get_available_providers():
        raise MissingError(f"ONNX Runtime has no {provider} (pip install onnxruntime-gpu)")

    # The runtime itself runs ONNX Runtime on the CPU only; this shows whether its graphs run there.
    graph = work.bundle / "encoder.onnx"
    reference = open_engine(graph, "onnxruntime")
    session = runtime.InferenceSession(str(graph), providers=[provider, "CPUExecutionProvider"])
    if provider not in session.get_providers():
        raise MissingError(f"ONNX Runtime could not start its {provider}")
    feeds = random_feeds(reference.inputs)
    values = session.run(list(reference.outputs), dict(feeds))
    cosines = {}
    for (name, expected), value in zip(reference.run(feeds).items(), values, strict=True):
        if expected.size:
            cosines[name] = compare("encoder", name, "cuda", expected, value).cosine
    work.report(provider=provider, cosine=cosines)
    if not min(cosines.values()) >= MIN_CUDA_COSINE:
        raise StageFailedError(f"cosine {min(cosines.values()):.5f} is below {MIN_CUDA_COSINE}")


def tensorrt_engines(work: Workplace) -> None:
    """Build engines in every precision, compare them with the CPU, gate and time them."""
    from gasmcast.export.graphs.fp16 import to_fp16
    from gasmcast.export.graphs.graph_file import load_graph, save_graph
    from gasmcast.runtime.engine_build import MIN_COSINE, compare_engines
    from gasmcast.runtime.engines.choose import open_engine
    from gasmcast.stopwatch import alternate_ms
    from gasmcast.video.noise import drifting_noise

    _require_tensorrt(work)
    bundle = work.bundle
    files = {"fp32": bundle / "encoder.onnx"}
    for precision, stored in (("fp16", "encoder.onnx"), ("int8_fp16", "encoder.int8.onnx")):
        path = work.folder / f"encoder.{precision}.onnx"
        files[precision] = save_graph(to_fp16(load_graph(bundle / stored)), path)

    reference = open_engine(files["fp32"], "onnxruntime")
    shape = tuple(int(size or 1) for size in reference.inputs["segments"].shape[1:])
    feeds = {"segments": drifting_noise(1, shape)}
    low = []
    for precision, path in files.items():
        engine = _open(work, path)
        cosine = compare_engines(engine, reference, feeds)
        times = alternate_ms({"ms": partial(engine.run, feeds)}, _TIMING_S)
        # INT8 ranges of random weights on noise say little, so only its value is reported.
        gated = precision != "int8_fp16"
        if gated and not cosine >= MIN_COSINE[precision]:
            low.append(precision)
        work.report(
            **{
                precision: {
                    "engine": engine.describe(),
                    "cosine": round(cosine, 6),
                    "at_least": MIN_COSINE[precision] if gated else None,
                    "encoder_ms": round(median(times["ms"]), 3),
                }
            }
        )
    _time_torch(work, feeds)
    if low:
        raise StageFailedError(f"the cosine with the CPU is too low in {', '.join(low)}")


def live_equals_forward(work: Workplace) -> None:
    """Compare the logits of a file through the live pipeline with those of its whole windows."""
    from gasmcast.data.synthetic.scene_video import Shot  # noqa: F401 - names what data holds
    from gasmcast.runtime.bundle import Bundle
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.pipeline import Pipeline
    from gasmcast.runtime.session import Session
    from gasmcast.runtime.sources.file import FileSource
    from gasmcast.runtime.streaming_model import open_model
    from gasmcast.video.clip import read_clip

    backend = _backend(work)
    folder = work.bundle
    video = next(iter(sorted((work.data / "videos").glob("*.mp4"))))
    model = open_model(folder, backend, "fp32").model
    windows: list[dict[str, Any]] = []
    session = Session(model, LiveConfig(), [])
    session.pipeline = Pipeline(
        model,
        LiveConfig(),
        lambda _: None,
        trace=lambda kind, fields: windows.append(fields) if kind == "window" else None,
    )
    session.add(FileSource(video, "file"))
    session.run()

    # The whole window on the CPU in FP32, as `gasmcast eval` computes it.
    whole = Bundle.open(folder).engine("complete", "fp32", "openvino", None)
    errors = []
    for window in windows:
        clip = read_clip(video, model.spec, window["window"][0])
        logits = whole.run({"clip": clip[None]})["logits"][0]
        errors.append(float(np.abs(logits - np.asarray(window["logits"])).max()))
    work.report(backend=backend, windows=len(windows), largest_error=max(errors, default=None))
    if not errors or max(errors) > MAX_LIVE_ERROR:
        raise StageFailedError(f"{len(errors)} windows, largest error {max(errors, default=0):.2g}")


def cameras(work: Workplace) -> None:
    """Measure how many cameras are served in real time."""
    from gasmcast.commands.bench.camera_load import count_cameras
    from gasmcast.runtime.bench.process import measure_once
    from gasmcast.runtime.bench.task import Task

    backend = _backend(work)
    seconds = 1.0 if work.rehearse else 3.0
    task = Task("cached", str(work.bundle), "fp32", backend, threads=None, seconds=seconds)
    turn = measure_once(task, timeout_s=30.0)
    cost_ms = median(turn["encode_1"]) + median(turn["fuse_1"])
    work.report(backend=backend, decision_ms=round(cost_ms, 2))

    from dataclasses import replace

    hop_ms = 500.0
    limit = 2 if work.rehearse else 64
    row = count_cameras(
        replace(task, kind="cameras"),
        cost_ms,
        hop_ms,
        limit,
        lambda stage, *_: work.report(at=stage),
    )
    work.figures.pop("at", None)
    work.report(**{key: row[key] for key in ("cameras_realtime", "rss_mb", "late") if key in row})


def engine_cache(work: Workplace) -> None:
    """Check that a cached engine is found again, and that one that was altered is refused."""
    from gasmcast.runtime.engines.trt.engine_cache import EngineCache
    from gasmcast.runtime.engines.trt.engine_key import EngineKey

    cache = EngineCache(work.folder / "engines")
    if work.rehearse:
        # The cache itself needs no device: any bytes stand for an engine.
        key = EngineKey("encoder", "0" * 64, "tensorrt", "0", "none", "0", "fp32", "1/1/1", "-")
        cache.open()
        cache.store(key, b"engine" * 1000, 1.0)
    else:
        _require_tensorrt(work)
        from gasmcast.runtime.engines.tensorrt import compile_graph

        compile_graph(work.bundle / "head.onnx", None, None, cameras=1).close()
        cache = EngineCache()
        entry = next(e for e in cache.entries() if e.key.graph == "head")
        key = entry.key

    reused = cache.load(key).plan is not None
    path = cache.plan_path(key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    refused = cache.load(key).plan is None
    cache.discard(key)
    work.report(reused=reused, tampered_refused=refused)
    if not (reused and refused):
        raise StageFailedError("the cache does not find, or does not check, its engines")


def _require_tensorrt(work: Workplace) -> None:
    from gasmcast.runtime.engines.tensorrt import missing

    reason = "" if work.rehearse else missing()
    if reason:
        raise MissingError(reason)


def _backend(work: Workplace) -> str:
    """Return the backend under test: TensorRT, or OpenVINO in a rehearsal."""
    _require_tensorrt(work)
    return "openvino" if work.rehearse else "tensorrt"


def _open(work: Workplace, path: Path) -> Engine:
    from gasmcast.runtime.engines.choose import open_engine

    return open_engine(path, _backend(work))


def _time_torch(work: Workplace, feeds: dict[str, Any]) -> None:
    """Time the encoder in eager PyTorch, compiled, and by torch-tensorrt, as far as they exist."""
    import torch

    from gasmcast.config import load_config
    from gasmcast.export.graphs.trace import EncoderGraph
    from gasmcast.export.tensorrt.torch_tensorrt import compile_graphs, missing
    from gasmcast.models.model import build_model
    from gasmcast.stopwatch import fastest_s

    device = work.device
    settings = {k: v for k, v in work.settings.items() if k.startswith("model.")}
    model = build_model(load_config(work.preset, settings)).eval().to(device)
    pair = torch.from_numpy(feeds["segments"]).to(device)

    def time_ms(encoder: Any) -> float:  # noqa: ANN401 - a module or a compiled one
        def run() -> None:
            encoder(pair)
            if device == "cuda":
                torch.cuda.synchronize()

        with torch.inference_mode():
            return round(1000 * fastest_s(run, 5), 3)

    encoder = EncoderGraph(model)
    work.report(torch_eager_fp32_ms=time_ms(encoder))
    if not work.rehearse:
        work.report(torch_compiled_fp32_ms=time_ms(torch.compile(encoder)))
    reason = missing()
    if reason:
        work.report(torch_tensorrt=f"missing: {reason}")
        return
    programs = compile_graphs(model, work.folder / "torch_tensorrt", cameras=1)
    work.report(torch_tensorrt=[program.to_json() for program in programs])
