"""Three quantizers on one exported encoder and the same real frames: ours, ONNX Runtime's and NVIDIA ModelOpt's.

    python docs/experiments/quantizers.py BUNDLE/encoder.onnx DATA

ModelOpt is measured where it is installed (nvidia-modelopt without its `[onnx]` extra, plus onnx-graphsurgeon, onnxconverter-common,
onnxslim, lief, cppimport, polygraphy). All weights at full 127 levels; the semantic taps are compared on held-out clips,
Q/DQ executed as written.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from outlier_channels import pairs

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import ALL_LEVELS
from gasmcast.calibration.quantize import Recipe, calibrate
from gasmcast.comparison import compare
from gasmcast.export.checks.reference_engines import open_arbiter
from gasmcast.export.graphs.rules import check_rules


def ours(source: Path, out: Path, feeds: list[dict[str, np.ndarray]], method: str) -> None:
    """The policy of this package."""
    calibrated = calibrate(onnx.load(str(source)), lambda: iter(feeds), Recipe(method=method))  # type: ignore[arg-type]
    onnx.save(calibrated.quantize(Policy(), ALL_LEVELS), str(out))


def onnxruntimes(source: Path, out: Path, feeds: list[dict[str, np.ndarray]], method: str) -> None:
    """ONNX Runtime's, with the options that TensorRT accepts, on the same nodes."""
    from onnxruntime.quantization import (  # noqa: PLC0415 - one of three
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(self.rest, None)

    nodes = [c.node for c in Policy().choose(candidates(onnx.load(str(source)).graph))]
    quantize_static(
        str(source),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method={
            "max": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }[method],
        nodes_to_quantize=nodes,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "DedicatedQDQPair": True,
        },
    )


def modelopts(source: Path, out: Path, feeds: list[dict[str, np.ndarray]], method: str) -> None:
    """ModelOpt's, on the same nodes."""
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415 - optional

    nodes = [c.node for c in Policy().choose(candidates(onnx.load(str(source)).graph))]
    data = {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}
    quantize(
        str(source),
        quantize_mode="int8",
        calibration_method=method,
        calibration_data=data,
        calibration_eps=["cpu"],
        nodes_to_quantize=[f"^{re.escape(n)}$" for n in nodes],
        high_precision_dtype="fp32",
        output_path=str(out),
    )


def main() -> None:
    """Quantize, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    args = parser.parse_args()
    train, held = pairs(args.data, "train", args.clips), pairs(args.data, "validation", 4)
    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        model = onnx.load(str(args.encoder))
        del model.graph.output[1:]
        drop_unread(model.graph)
        onnx.save(model, str(source))
        origin = np.concatenate([open_arbiter(source).run(p)["semantic"] for p in held])
        tries = [
            (ours, "max"),
            (ours, "entropy"),
            (onnxruntimes, "max"),
            (onnxruntimes, "entropy"),
            (modelopts, "max"),
            (modelopts, "entropy"),
        ]
        for make, method in tries:
            started = time.process_time()
            try:
                make(source, out, train, method)
            except ImportError as error:
                print(f"{make.__name__:13s} {method:8s} not installed ({error})", flush=True)
                continue
            spent = time.process_time() - started
            given = np.concatenate([open_arbiter(out).run(p)["semantic"] for p in held])
            taps = [
                compare("encoder", f"tap {t + 1}", make.__name__, origin[:, t], given[:, t])
                for t in range(given.shape[1])
            ]
            cells = "; ".join(f"{c.tensor} {c.cosine:.4f} ({c.snr_db:.1f} dB)" for c in taps)
            count = sum(n.op_type == "QuantizeLinear" for n in onnx.load(str(out)).graph.node)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            rules = (
                "rules hold"
                if check_rules(out)
                else f"rules broken ({check_rules(out).breaks[0].rule})"
            )
            print(
                f"{make.__name__:13s} {method:8s} {cells}; {count} Q, {rules}, {spent:.0f} CPU s, peak {memory:.1f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
