"""Every graph of a preset in every precision through TensorRT-RTX: which builds, and how many products are INT8, FP16, FP32.

    python docs/experiments/engines.py ssv2 build/engines

Random weights, and INT8 ranges that are made up (4.0 for every activation): neither changes which layers an engine has. Graphs that are
in the folder already are taken from there. One line a graph, and `engines.jsonl`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import torch

from gasmcast.calibration.policy import Policy, candidates
from gasmcast.calibration.qdq import insert_qdq
from gasmcast.config import load_config
from gasmcast.export.graphs.compose import compose_complete
from gasmcast.export.graphs.fp16 import to_fp16
from gasmcast.export.graphs.graph_file import save_graph
from gasmcast.export.graphs.trace import export_onnx
from gasmcast.export.tensorrt.rtx_check import check_engine
from gasmcast.models.model import build_model


def main(preset: str, folder: Path) -> None:
    """Write what is missing, then check all."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(
        preset, {"model.semantic_weights": "random", "model.motion_weights": "random"}
    )
    if not (folder / "complete.onnx").is_file():
        torch.manual_seed(0)
        export_onnx(build_model(config), folder, print)
    for precision in ("fp16", "int8_fp16"):
        if (folder / f"complete.{precision}.onnx").is_file():
            continue
        graphs = {}
        for name in ("encoder", "head"):
            graph = onnx.load(str(folder / f"{name}.onnx"))
            if precision == "int8_fp16":
                chosen = Policy().choose(candidates(graph.graph))
                graph = insert_qdq(
                    graph, chosen, {candidate.activation: 4.0 for candidate in chosen}
                )
            graphs[name] = to_fp16(graph)
            save_graph(graphs[name], folder / f"{name}.{precision}.onnx")
        save_graph(
            compose_complete(graphs["encoder"], graphs["head"], config.spec),
            folder / f"complete.{precision}.onnx",
        )
    with (folder / "engines.jsonl").open("w", encoding="utf-8") as rows:
        for name in ("encoder", "head", "complete"):
            for ending in (".onnx", ".fp16.onnx", ".int8_fp16.onnx"):
                check = check_engine(folder / f"{name}{ending}")
                print("ok  " if check else "FAIL", check, flush=True)
                rows.write(json.dumps(check.to_json()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
