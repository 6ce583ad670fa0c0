"""The real-size encoder on this CPU: INT8 on OpenVINO against FP32 of the same graph, and against PyTorch; one run, medians.

    gasmcast export ssv2 --random-weights --out try.gasm
    python docs/experiments/encoder_speed.py ssv2 try.gasm/encoder.onnx [INT8.onnx]

Without an INT8 file one is made with ranges that are made up (4.0 for every activation): that changes the values, not the work. The rows
take turns, so that a machine that slows down slows them all down. PyTorch has random weights of the same shapes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import SAFE_LEVELS, insert_qdq
from gasmcast.config import load_config
from gasmcast.export.checks.reference_engines import open_uncached
from gasmcast.models.model import build_model
from gasmcast.runtime.engine_build import made_up_pairs
from gasmcast.runtime.engines import missing_bf16, open_engine

ROUNDS = 15


def quantized(source: Path, folder: Path) -> Path:
    """The policy's INT8 graph with made-up ranges."""
    model = onnx.load(str(source))
    chosen = Policy().choose(candidates(model.graph))
    out = folder / "int8.onnx"
    onnx.save(insert_qdq(model, chosen, {c.activation: 4.0 for c in chosen}, SAFE_LEVELS), str(out))
    return out


def main(preset: str, fp32: Path, int8: Path | None) -> None:
    """Open all, then take turns."""
    config = load_config(
        preset, {"model.semantic_weights": "random", "model.motion_weights": "random"}
    )
    model = build_model(config).eval()
    pixels = made_up_pairs(1, config.spec.pair_shape, 0)
    feeds = {"segments": pixels}

    def eager() -> None:
        with torch.inference_mode():
            model.encode(torch.from_numpy(pixels))

    with TemporaryDirectory() as scratch:
        int8 = int8 or quantized(fp32, Path(scratch))
        arbiter = open_engine(fp32, "onnxruntime")
        engines = {
            "openvino fp32": open_uncached(fp32),
            "openvino int8": open_uncached(int8),
        }
        if not missing_bf16("openvino"):
            engines |= {
                "openvino bf16": open_uncached(fp32, bf16=True),
                "openvino int8_bf16": open_uncached(int8, bf16=True),
            }
        size = int8.stat().st_size / fp32.stat().st_size
        rows: dict[str, Callable[[], object]] = {
            "pytorch eager fp32": eager,
            "onnxruntime fp32": lambda: arbiter.run(feeds),
        }
        rows |= {name: lambda e=engine: e.run(feeds) for name, engine in engines.items()}  # type: ignore[misc]
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for round_ in range(ROUNDS + 3):
            for name, run in rows.items():
                started = time.perf_counter()
                run()
                if round_ >= 3:
                    taken[name].append(1e3 * (time.perf_counter() - started))
    middle = {name: statistics.median(times) for name, times in taken.items()}
    for name, times in taken.items():
        print(
            f"{name:20s} median {middle[name]:7.1f} ms  (fastest {min(times):.1f}, slowest {max(times):.1f})"
        )
    for int8_row in (name for name in middle if "int8" in name):
        for name in (name for name in middle if "int8" not in name):
            print(f"{int8_row} is {middle[name] / middle[int8_row]:.2f} times as fast as {name}")
    print(f"INT8 file: {size:.3f} of FP32; {torch.get_num_threads()} threads, {ROUNDS} rounds")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
