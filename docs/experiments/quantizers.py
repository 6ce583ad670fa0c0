"""Compare three quantizers on one encoder and the same frames: ours, ONNX Runtime's, ModelOpt's.

    python docs/experiments/quantizers.py BUNDLE/encoder.onnx DATA

ModelOpt is measured where it is installed (nvidia-modelopt without its `[onnx]` extra, plus
onnx-graphsurgeon, onnxconverter-common, onnxslim, lief, cppimport, polygraphy). All weights have
the full 127 levels. The semantic taps are compared on held-out clips, with Q/DQ executed as
written.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from semantic_taps import (
    Feeds,
    compare_taps,
    feed_reader,
    keep_semantic_taps,
    read_pairs,
    run_semantic,
)

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import ALL_LEVELS
from gasmcast.calibration.quantize import Recipe, collect_ranges
from gasmcast.export.checks.reference_engines import open_reference
from gasmcast.export.graphs.rules import check_rules

Quantizer = Callable[[Path, Path, list[Feeds], str], None]
"""Quantize the graph of the first path into the second, from feeds and by a method."""


def ours(source: Path, out: Path, feeds: list[Feeds], method: str) -> None:
    """Quantize by the policy of this package."""
    recipe = Recipe(method=method)  # type: ignore[arg-type]
    calibrated = collect_ranges(onnx.load(str(source)), lambda: iter(feeds), recipe)
    onnx.save(calibrated.quantize(Policy(), ALL_LEVELS), str(out))


def policy_nodes(source: Path) -> list[str]:
    """Return the names of the nodes that the policy quantizes, so that all compare the same."""
    chosen = Policy().choose(candidates(onnx.load(str(source)).graph))
    return [candidate.node for candidate in chosen]


def onnxruntimes(source: Path, out: Path, feeds: list[Feeds], method: str) -> None:
    """Quantize the same nodes by ONNX Runtime, with the options that TensorRT accepts."""
    from onnxruntime.quantization import (  # noqa: PLC0415 - one of three
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    # TensorRT refuses asymmetric ranges, UINT8, and Q/DQ on biases.
    methods = {
        "max": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    quantize_static(
        str(source),
        str(out),
        feed_reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=methods[method],
        nodes_to_quantize=policy_nodes(source),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "DedicatedQDQPair": True,
        },
    )


def modelopts(source: Path, out: Path, feeds: list[Feeds], method: str) -> None:
    """Quantize the same nodes by ModelOpt."""
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415 - optional

    # ModelOpt takes all calibration data as one array per input.
    data = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    quantize(
        str(source),
        quantize_mode="int8",
        calibration_method=method,
        calibration_data=data,
        calibration_eps=["cpu"],
        nodes_to_quantize=[f"^{re.escape(node)}$" for node in policy_nodes(source)],
        high_precision_dtype="fp32",
        output_path=str(out),
    )


def describe(name: str, graph: Path, reference: np.ndarray, held_out: list[Feeds]) -> str:
    """Return the figures of a quantized graph: accuracy of the taps, Q nodes and broken rules."""
    taps = compare_taps(name, reference, run_semantic(open_reference(graph), held_out))
    cells = "; ".join(f"{tap.tensor} {tap.cosine:.4f} ({tap.snr_db:.1f} dB)" for tap in taps)
    nodes = onnx.load(str(graph)).graph.node
    quantized = sum(node.op_type == "QuantizeLinear" for node in nodes)

    # A file that TensorRT refuses is no result, however accurate it is.
    check = check_rules(graph)
    rules = "rules hold" if check else f"rules broken ({check.breaks[0].rule})"
    return f"{cells}; {quantized} Q, {rules}"


def main() -> None:
    """Quantize in all ways, compare with FP32, and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=8, help="calibration clips")
    args = parser.parse_args()

    # Four held-out clips suffice for taps: each has hundreds of tokens.
    calibration = read_pairs(args.data, "train", args.clips)
    held_out = read_pairs(args.data, "validation", 4)
    quantizers: tuple[Quantizer, ...] = (ours, onnxruntimes, modelopts)
    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        onnx.save(keep_semantic_taps(onnx.load(str(args.encoder))), str(source))
        reference = run_semantic(open_reference(source), held_out)

        for quantize in quantizers:
            for method in ("max", "entropy"):
                row = f"{quantize.__name__:13s} {method:8s}"
                started = time.process_time()
                try:
                    quantize(source, out, calibration, method)
                except ImportError as error:
                    print(f"{row} not installed ({error})", flush=True)
                    continue

                # The peak is that of the whole process: only its growth belongs to a row.
                spent_s = time.process_time() - started
                memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
                figures = describe(quantize.__name__, out, reference, held_out)
                print(f"{row} {figures}, {spent_s:.0f} CPU s, peak {memory_gb:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
