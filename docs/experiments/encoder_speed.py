"""Compare the speed of the real-size encoder on this CPU: INT8 on OpenVINO, FP32 and PyTorch.

    gasmcast export ssv2 --random-weights --out try.gasm
    python docs/experiments/encoder_speed.py ssv2 try.gasm/encoder.onnx [INT8.onnx]

Without an INT8 file one is made with an arbitrary range (4.0 for every activation), which changes
the values, not the work. The rows take turns, so that a machine that slows down slows them all.
PyTorch has random weights of the same shapes. Printed are medians of one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import SAFE_LEVELS, insert_qdq
from gasmcast.config import load_config
from gasmcast.export.checks.reference_engines import open_uncached
from gasmcast.models.model import build_model
from gasmcast.runtime.engines import missing_bf16, open_engine
from gasmcast.video.noise import drifting_noise

ROUNDS, WARM_UP = 15, 3

Rows = dict[str, Callable[[], object]]


def write_int8(source: Path, folder: Path) -> Path:
    """Write the policy's INT8 graph with arbitrary ranges and return its path."""
    model = onnx.load(str(source))
    chosen = Policy().choose(candidates(model.graph))
    # Any range gives the same work; one value keeps the file reproducible.
    ranges = {candidate.activation: 4.0 for candidate in chosen}

    out = folder / "int8.onnx"
    onnx.save(insert_qdq(model, chosen, ranges, SAFE_LEVELS), str(out))
    return out


def open_rows(preset: str, fp32: Path, int8: Path) -> Rows:
    """Return a function per row that encodes one segment pair."""
    # The speed does not depend on the weights.
    random = {"model.semantic_weights": "random", "model.motion_weights": "random"}
    config = load_config(preset, random)
    model = build_model(config).eval()
    pixels = drifting_noise(1, config.spec.pair_shape, 0)
    feeds = {"segments": pixels}

    def run_eager() -> None:
        with torch.inference_mode():
            model.encode(torch.from_numpy(pixels))

    # Files are compiled without a cache, so that a run never measures an older graph.
    engines = {
        "onnxruntime fp32": open_engine(fp32, "onnxruntime"),
        "openvino fp32": open_uncached(fp32),
        "openvino int8": open_uncached(int8),
    }
    if not missing_bf16("openvino"):
        engines["openvino bf16"] = open_uncached(fp32, bf16=True)
        engines["openvino int8_bf16"] = open_uncached(int8, bf16=True)

    rows: Rows = {"pytorch eager fp32": run_eager}
    for name, engine in engines.items():
        rows[name] = partial(engine.run, feeds)
    return rows


def time_rows(rows: Rows) -> dict[str, list[float]]:
    """Return the milliseconds of each row by round; the rows take turns."""
    times_ms: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(WARM_UP + ROUNDS):
        for name, run in rows.items():
            started = time.perf_counter()
            # The first rounds compile and allocate.
            run()
            elapsed_ms = 1e3 * (time.perf_counter() - started)
            if number >= WARM_UP:
                times_ms[name].append(elapsed_ms)
    return times_ms


def print_times(times_ms: dict[str, list[float]]) -> None:
    """Print a line per row, and how many times as fast INT8 is as each of the others."""
    medians = {name: statistics.median(times) for name, times in times_ms.items()}
    for name, times in times_ms.items():
        spread = f"(fastest {min(times):.1f}, slowest {max(times):.1f})"
        print(f"{name:20s} median {medians[name]:7.1f} ms  {spread}")

    # INT8 rows are compared with the others only, not with each other.
    int8_ms = {name: ms for name, ms in medians.items() if "int8" in name}
    other_ms = {name: ms for name, ms in medians.items() if "int8" not in name}
    for int8_name, fast in int8_ms.items():
        for name, slow in other_ms.items():
            print(f"{int8_name} is {slow / fast:.2f} times as fast as {name}")


def main() -> None:
    """Open all rows, let them take turns, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("fp32", type=Path, help="FP32 encoder of a bundle of this preset")
    parser.add_argument("int8", type=Path, nargs="?", help="INT8 encoder of the same bundle")
    args = parser.parse_args()

    with TemporaryDirectory() as scratch:
        int8 = args.int8 or write_int8(args.fp32, Path(scratch))
        size = int8.stat().st_size / args.fp32.stat().st_size
        print_times(time_rows(open_rows(args.preset, args.fp32, int8)))
    print(f"INT8 file: {size:.3f} of FP32; {torch.get_num_threads()} threads, {ROUNDS} rounds")


if __name__ == "__main__":
    main()
