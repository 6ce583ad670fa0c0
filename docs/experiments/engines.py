"""Compile every graph of a preset in every precision with TensorRT-RTX and count the types.

    python docs/experiments/engines.py ssv2 build/engines

The weights are random, and INT8 has an arbitrary range (4.0 for every activation): neither changes
which layers an engine has. Graphs that exist in the folder are reused. Printed is one line per
graph: whether it compiles, and how many products are INT8, FP16 and FP32; `engines.jsonl` has the
same as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import onnx
import torch

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import insert_qdq
from gasmcast.config import Config, load_config
from gasmcast.export.graphs.fp16 import to_fp16
from gasmcast.export.graphs.trace import compose_complete, export_onnx, save_graph
from gasmcast.export.tensorrt.rtx_check import check_engine
from gasmcast.models.model import build_model


def write_precision(folder: Path, precision: str, config: Config) -> None:
    """Write encoder, head and complete graph in `fp16` or `int8_fp16`."""
    graphs = {}
    for name in ("encoder", "head"):
        graph = onnx.load(str(folder / f"{name}.onnx"))
        if precision == "int8_fp16":
            # Any range gives the same layers.
            chosen = Policy().choose(candidates(graph.graph))
            graph = insert_qdq(graph, chosen, {candidate.activation: 4.0 for candidate in chosen})
        graphs[name] = to_fp16(graph)
        save_graph(graphs[name], folder / f"{name}.{precision}.onnx")

    # The complete graph is written last: its file says that the precision is whole.
    complete = compose_complete(graphs["encoder"], graphs["head"], config.spec)
    save_graph(complete, folder / f"complete.{precision}.onnx")


def write_graphs(preset: str, folder: Path) -> None:
    """Write the graphs that are missing in the folder; the complete graph is the last of each."""
    random = {"model.semantic_weights": "random", "model.motion_weights": "random"}
    config = load_config(preset, random)
    # An interrupted run continues with the graphs that are missing.
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "complete.onnx").is_file():
        torch.manual_seed(0)
        export_onnx(build_model(config), folder, print)

    for precision in ("fp16", "int8_fp16"):
        if not (folder / f"complete.{precision}.onnx").is_file():
            write_precision(folder, precision, config)


def check_graphs(folder: Path) -> None:
    """Compile every graph, print a line each, and write `engines.jsonl`."""
    with (folder / "engines.jsonl").open("w", encoding="utf-8") as rows:
        for name in ("encoder", "head", "complete"):
            for ending in (".onnx", ".fp16.onnx", ".int8_fp16.onnx"):
                # A line as soon as a graph is compiled: the whole takes minutes.
                check = check_engine(folder / f"{name}{ending}")
                print("ok  " if check else "FAIL", check, flush=True)
                rows.write(json.dumps(check.to_json()) + "\n")


def main() -> None:
    """Write what is missing, then check all graphs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("folder", type=Path, help="folder of the graphs")
    args = parser.parse_args()
    write_graphs(args.preset, args.folder)
    check_graphs(args.folder)


if __name__ == "__main__":
    main()
