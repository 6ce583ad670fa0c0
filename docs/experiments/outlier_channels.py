"""Does the INT8 policy survive the outlier channels of real DINOs? An exported encoder, real frames, and channels planted where asked.

    gasmcast export ssv2 --random-weights --out try.gasm
    python docs/experiments/outlier_channels.py try.gasm/encoder.onnx DATA --plant

Planted: five residual channels grow 100 to 1000 times larger than the median one behind block 2, and every later LayerNormalization and
linear layer is set as training sets them: ordinary channels keep their size, small weights meet the large channels. What the network
computes stays balanced, and one scale a tensor no longer fits it. Without `--plant` the graph's own weights are measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import SAFE_LEVELS, insert_qdq
from gasmcast.calibration.quantize import Recipe, calibrate
from gasmcast.calibration.ranges import collect
from gasmcast.comparison import compare
from gasmcast.config import load_config
from gasmcast.data.annotations import read_split
from gasmcast.export.checks.reference_engines import open_arbiter, open_uncached
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

OUTLIERS = {7: 120.0, 138: 250.0, 301: 400.0, 483: 650.0, 650: 1000.0}


class Editor:
    """Weights of one graph by the node that reads them; shared tensors are copied before they are changed."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = {n.name: n for n in model.graph.node}
        self.arrays = {t.name: t for t in model.graph.initializer}

    def change(self, node: str, index: int, change: object) -> None:
        """Replace input `index` of a node by `change(array)`."""
        name = self.nodes[node].input[index]
        fresh = f"{name}.of.{node}"
        value = np.asarray(change(numpy_helper.to_array(self.arrays[name]).copy()), np.float32)  # type: ignore[operator]
        tensor = numpy_helper.from_array(value, fresh)
        self.model.graph.initializer.append(tensor)
        self.arrays[fresh] = tensor
        self.nodes[node].input[index] = fresh


def plant(model: ModelProto, feeds: list[dict[str, np.ndarray]]) -> None:
    """See the module's docstring."""
    edit = Editor(model)
    channels = np.array(list(OUTLIERS))
    vit = "encoder.semantic.vit.blocks"
    for name, node in edit.nodes.items():  # LayerScale starts at 1e-5, which would hide every block
        if (
            name.startswith(vit)
            and name.endswith(("/Mul", "/Mul_2"))
            and ".attn" not in name
            and ".mlp" not in name
        ):
            edit.change(
                name,
                next(i for i, x in enumerate(node.input) if x in edit.arrays),
                lambda g: np.full_like(g, 0.5),
            )
    norms = [n for n in edit.nodes if n.startswith(vit) and n.endswith("LayerNormalization")]
    behind = [n for n in norms if int(n.split("blocks.")[1].split(".")[0]) >= 3]
    tensors = [edit.nodes[n].output[0] for n in behind]
    ordinary = medians(model, tensors, feeds)

    def grow(w: np.ndarray) -> np.ndarray:
        w[:, channels] *= np.array(list(OUTLIERS.values()))
        return w

    edit.change(f"{vit}.2.mlp.fc2/MatMul", 1, grow)
    shrunk = medians(model, tensors, feeds)
    for norm in behind:
        tensor = edit.nodes[norm].output[0]
        rest, large = shrunk[tensor], np.array(list(OUTLIERS.values())) * 0.8

        def rescale(
            gamma: np.ndarray, tensor: str = tensor, rest: float = rest, large: np.ndarray = large
        ) -> np.ndarray:
            gamma *= ordinary[tensor] / rest
            gamma[channels] = (
                large * ordinary[tensor] / 12.0
            )  # a channel that rules the norm leaves it near sqrt(768 / 5) = 12
            return gamma

        edit.change(norm, 1, rescale)
        for name, node in edit.nodes.items():
            if node.op_type == "MatMul" and node.input[0] == tensor:

                def divide(w: np.ndarray, large: np.ndarray = large) -> np.ndarray:
                    w[channels] /= large[:, None]
                    return w

                edit.change(name, 1, divide)
    drop_unread(model.graph)


def medians(
    model: ModelProto, tensors: list[str], feeds: list[dict[str, np.ndarray]]
) -> dict[str, float]:
    """Median over the channels of each tensor's largest absolute value."""
    watched = [c for c in candidates(model.graph) if c.activation in tensors]
    return {
        n: float(np.median(s.channel_top)) for n, s in collect(model, watched, feeds[:1]).items()
    }


def pairs(data: Path, split: str, count: int) -> list[dict[str, np.ndarray]]:
    """One (previous, current) pair of each of `count` clips."""
    spec = load_config("ssv2").spec
    samples = [s for s in read_split(data, split) if s.path is not None]
    samples = samples[:: max(1, len(samples) // count)][:count]
    clips = [
        read_clip(s.path, spec, spec.centered_start(duration_s(s.path)))
        for s in samples
        if s.path is not None
    ]
    return [{"segments": np.stack([c[i % 8], c[i % 8 + 1]])[None]} for i, c in enumerate(clips)]


def everything(model: ModelProto, feeds: list[dict[str, np.ndarray]]) -> ModelProto:
    """INT8 by default: every operator that ONNX Runtime can quantize, one scale a tensor for weights too, by the largest value."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )  # noqa: PLC0415 - for one row

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(self.rest, None)

    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "m.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, str(source))
        symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
        int8 = QuantType.QInt8
        quantize_static(
            str(source),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=int8,
            weight_type=int8,
            extra_options=symmetric,
        )
        return onnx.load(str(out))


def main() -> None:
    """Quantize in several ways and compare the semantic taps with FP32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--plant", action="store_true")
    parser.add_argument("--calibration", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=4)
    parser.add_argument("--methods", nargs="*", default=["max", "percentile", "entropy"])
    args = parser.parse_args()
    model = onnx.load(str(args.encoder))
    del model.graph.output[1:]  # the semantic taps alone
    drop_unread(model.graph)
    train, held = (
        pairs(args.data, "train", args.calibration),
        pairs(args.data, "validation", args.held_out),
    )
    if args.plant:
        plant(model, train)
    policy = Policy()
    found = policy.choose(candidates(model.graph))
    stats = collect(model, found, train)
    ratios = np.array(sorted(s.outlier_ratio for s in stats.values()))
    print(
        f"{len(found)} linears; largest / median channel of what they read: median {np.median(ratios):.0f}, highest {ratios[-1]:.0f}",
        flush=True,
    )
    rows = {"everything, min-max": everything(model, train)}
    rows["our nodes, min-max"] = insert_qdq(
        model, found, {n: s.top for n, s in stats.items()}, SAFE_LEVELS
    )
    for method in args.methods:
        calibrated = calibrate(model, lambda: iter(train), Recipe(method=method), policy)
        rows[f"policy, {method}"] = calibrated.quantize(policy)
        print(
            f"policy, {method}: {len(calibrated.smoothed)} of {len(calibrated.stats)} tensors smoothed",
            flush=True,
        )
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "m.onnx"
        onnx.save(model, str(path))
        exact = open_arbiter(path)
        origin = np.concatenate([exact.run(p)["semantic"] for p in held])
        del exact
        for name, quantized in rows.items():
            onnx.save(quantized, str(path))
            for label, opener in (("as written", open_arbiter), ("openvino", open_uncached)):
                engine = opener(path)
                given = np.concatenate([engine.run(p)["semantic"] for p in held])
                found_taps = [
                    compare("encoder", f"tap {t + 1}", label, origin[:, t], given[:, t])
                    for t in range(given.shape[1])
                ]
                cells = "; ".join(
                    f"{c.tensor} {c.cosine:.4f} ({c.snr_db:.0f} dB)" for c in found_taps
                )
                print(f"{name:20s} {label:11s} cosine of the worst clip: {cells}", flush=True)


if __name__ == "__main__":
    main()
