"""Test whether the INT8 policy survives the outlier channels of real DINOs.

    gasmcast export ssv2 --random-weights --out try.gasm
    python docs/experiments/outlier_channels.py try.gasm/encoder.onnx DATA --plant

`--plant` makes five residual channels behind block 2 grow 100 to 1000 times larger than the median
one, and sets every later LayerNormalization and linear layer as training sets them: ordinary
channels keep their size, and small weights meet the large channels. What the network computes stays
balanced, and one scale per tensor no longer fits it. Without `--plant` the graph's own weights are
measured. The frames are real.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper
from semantic_taps import (
    Feeds,
    compare_taps,
    feed_reader,
    keep_semantic_taps,
    read_pairs,
    run_semantic,
)

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import SAFE_LEVELS, insert_qdq
from gasmcast.calibration.quantize import Recipe, collect_ranges
from gasmcast.calibration.ranges import collect
from gasmcast.export.checks.reference_engines import open_reference, open_uncached

OUTLIERS = {7: 120.0, 138: 250.0, 301: 400.0, 483: 650.0, 650: 1000.0}
VIT = "encoder.semantic.vit.blocks"


class Editor:
    """Weights of one graph by the node that reads them; shared tensors are copied first."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = {node.name: node for node in model.graph.node}
        self.arrays = {tensor.name: tensor for tensor in model.graph.initializer}

    def change(self, node: str, index: int, function: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace input `index` of a node by `function(array)`."""
        array = numpy_helper.to_array(self.arrays[self.nodes[node].input[index]]).copy()
        name = f"{self.nodes[node].input[index]}.of.{node}"
        tensor = numpy_helper.from_array(np.asarray(function(array), np.float32), name)

        # A new name per reader: another node may share the old tensor.
        self.model.graph.initializer.append(tensor)
        self.arrays[name] = tensor
        self.nodes[node].input[index] = name


def is_layer_scale(node: NodeProto) -> bool:
    """Return whether the node multiplies a residual branch of the ViT by its LayerScale."""
    inside = ".attn" in node.name or ".mlp" in node.name
    return node.name.startswith(VIT) and node.name.endswith(("/Mul", "/Mul_2")) and not inside


def plant_outliers(model: ModelProto, feeds: list[Feeds]) -> None:
    """Plant the outlier channels that the module's docstring describes."""
    edit = Editor(model)
    channels, factors = np.array(list(OUTLIERS)), np.array(list(OUTLIERS.values()))

    # LayerScale starts at 1e-5, which would hide every block.
    for name, node in edit.nodes.items():
        if is_layer_scale(node):
            index = next(i for i, tensor in enumerate(node.input) if tensor in edit.arrays)
            edit.change(name, index, lambda gamma: np.full_like(gamma, 0.5))

    # Only what lies behind block 2 sees the large channels.
    norms = [n for n in edit.nodes if n.startswith(VIT) and n.endswith("LayerNormalization")]
    later = [norm for norm in norms if int(norm.split("blocks.")[1].split(".")[0]) >= 3]
    outputs = [edit.nodes[norm].output[0] for norm in later]
    before = channel_medians(model, outputs, feeds)

    def grow(weights: np.ndarray) -> np.ndarray:
        weights[:, channels] *= factors
        return weights

    # The large channels shrink all others behind a LayerNormalization.
    edit.change(f"{VIT}.2.mlp.fc2/MatMul", 1, grow)
    after = channel_medians(model, outputs, feeds)
    large = factors * 0.8
    for norm, output in zip(later, outputs, strict=True):
        restore_channels(edit, norm, before[output], after[output], large)
    drop_unread(model.graph)


def restore_channels(
    edit: Editor, norm: str, before: float, after: float, large: np.ndarray
) -> None:
    """Restore the ordinary channels behind a LayerNormalization and balance the large ones.

    Args:
        edit: the graph.
        norm: name of the LayerNormalization.
        before: median channel of its output without the outliers.
        after: the same with them.
        large: factors of the outlier channels behind the LayerNormalization.
    """
    channels = np.array(list(OUTLIERS))

    def rescale(gamma: np.ndarray) -> np.ndarray:
        gamma *= before / after
        # A channel that dominates the norm leaves it near sqrt(768 / 5) = 12.
        gamma[channels] = large * before / 12.0
        return gamma

    def divide(weights: np.ndarray) -> np.ndarray:
        weights[channels] /= large[:, None]
        return weights

    # Every product of this output must see the inverse of the new scale.
    edit.change(norm, 1, rescale)
    output = edit.nodes[norm].output[0]
    for name, node in edit.nodes.items():
        if node.op_type == "MatMul" and node.input[0] == output:
            edit.change(name, 1, divide)


def channel_medians(model: ModelProto, tensors: list[str], feeds: list[Feeds]) -> dict[str, float]:
    """Return the median over the channels of each tensor's largest absolute value."""
    watched = [c for c in candidates(model.graph) if c.activation in tensors]
    stats = collect(model, watched, feeds[:1])
    return {name: float(np.median(stat.channel_top)) for name, stat in stats.items()}


def quantize_everything(model: ModelProto, feeds: list[Feeds]) -> ModelProto:
    """Return INT8 of every operator that ONNX Runtime can quantize, with its defaults.

    One scale per tensor, for weights too, by the largest value.
    """
    from onnxruntime.quantization import (  # noqa: PLC0415 - one row only
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "m.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_static(
            str(source),
            str(out),
            feed_reader(feeds),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
        return onnx.load(str(out))


def quantize_all_ways(
    model: ModelProto, feeds: list[Feeds], methods: list[str]
) -> dict[str, ModelProto]:
    """Return the INT8 graphs by name: everything, plain min-max, and our policy by method."""
    policy = Policy()
    chosen = policy.choose(candidates(model.graph))
    stats = collect(model, chosen, feeds)
    ratios = np.array(sorted(stat.outlier_ratio for stat in stats.values()))
    print(f"{len(chosen)} linears; largest / median channel of what they read:", end=" ")
    print(f"median {np.median(ratios):.0f}, highest {ratios[-1]:.0f}", flush=True)

    # The rows go from the simplest method to ours.
    largest = {name: stat.top for name, stat in stats.items()}
    graphs = {
        "everything, min-max": quantize_everything(model, feeds),
        "our nodes, min-max": insert_qdq(model, chosen, largest, SAFE_LEVELS),
    }
    for method in methods:
        recipe = Recipe(method=method)  # type: ignore[arg-type]
        calibrated = collect_ranges(model, lambda: iter(feeds), recipe, policy)
        graphs[f"policy, {method}"] = calibrated.quantize(policy)
        smoothed = f"{len(calibrated.smoothed)} of {len(calibrated.stats)}"
        print(f"policy, {method}: {smoothed} tensors smoothed", flush=True)
    return graphs


def print_accuracy(model: ModelProto, graphs: dict[str, ModelProto], held_out: list[Feeds]) -> None:
    """Compare each graph with FP32, as written and on OpenVINO, and print a line each."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "m.onnx"
        onnx.save(model, str(path))
        reference = run_semantic(open_reference(path), held_out)

        for name, graph in graphs.items():
            # One file is enough: an engine has read it before the next is written.
            onnx.save(graph, str(path))
            for label, open_graph in (("as written", open_reference), ("openvino", open_uncached)):
                taps = compare_taps(label, reference, run_semantic(open_graph(path), held_out))
                cells = "; ".join(f"{t.tensor} {t.cosine:.4f} ({t.snr_db:.0f} dB)" for t in taps)
                print(f"{name:20s} {label:11s} cosine of the worst clip: {cells}", flush=True)


def main() -> None:
    """Quantize in several ways and compare the semantic taps with FP32."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--plant", action="store_true", help="plant the outlier channels")
    parser.add_argument("--calibration", type=int, default=8, help="calibration clips")
    parser.add_argument("--held-out", type=int, default=4, help="held-out clips")
    parser.add_argument("--methods", nargs="*", default=["max", "percentile", "entropy"])
    args = parser.parse_args()

    model = keep_semantic_taps(onnx.load(str(args.encoder)))
    calibration = read_pairs(args.data, "train", args.calibration)
    held_out = read_pairs(args.data, "validation", args.held_out)
    if args.plant:
        plant_outliers(model, calibration)
    graphs = quantize_all_ways(model, calibration, args.methods)
    print_accuracy(model, graphs, held_out)


if __name__ == "__main__":
    main()
