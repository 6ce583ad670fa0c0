"""Write a bundle as a model repository of Triton, and as a configuration of OpenVINO Model Server.

Both servers read the same folders, `NAME_encoder/1/model.onnx` and so on. The backend follows from
the precision: FP32 runs on ONNX Runtime and INT8 on OpenVINO, both on CPUs; FP16 and INT8 with FP16
run on ONNX Runtime with TensorRT, which builds its engines on the machine that serves.

Sources: triton-inference-server/common, protobuf/model_config.proto; triton-inference-server/
onnxruntime_backend and openvino_backend, README.md; openvinotoolkit/model_server,
page models_repository.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx

from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.manifest import Graph
from gasmcast.precision import in_bf16
from gasmcast.runtime.bundle import Bundle

__all__ = ["TritonModel", "write_repository"]

_BACKENDS = {
    "fp32": "onnxruntime",
    "int8": "openvino",
    "fp16": "onnxruntime",
    "int8_fp16": "onnxruntime",
}
_GRAPHS: tuple[Graph, ...] = ("encoder", "head", "complete")
_ON_GPU = ("fp16", "int8_fp16")
_DATATYPES = {
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
}
_MAX_BATCH = 8
_DELAY_US = 5000
_QUEUE = 64
"""Requests that wait; Triton refuses others, so that memory is bounded."""
_OVMS_ROOT = "/models"
"""Where the container of OpenVINO Model Server sees the repository."""


@dataclass(frozen=True)
class TritonModel:
    """Model of the repository."""

    name: str
    backend: str
    file: str
    """File of the bundle that it is a copy of."""


def write_repository(bundle: Path, out: Path, precision: str = "auto") -> list[TritonModel]:
    """Write encoder, head and, if the bundle has it, the complete model.

    Args:
        bundle: folder that `gasmcast export` wrote.
        out: folder to create; it may exist if it is empty.
        precision: a precision of the bundle with files of its own; `auto` for the fastest on a CPU.

    Returns:
        The models, in the order of the graphs.

    Raises:
        UsageError: not a bundle, no such precision, or `out` holds something.
    """
    opened = Bundle.open(bundle)
    chosen = _choose(opened, precision)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty.", "Give --triton a new folder.")

    name = re.sub(r"[^A-Za-z0-9_-]+", "-", bundle.absolute().stem).strip("-") or "model"
    models = []
    for graph in _GRAPHS:
        if not any(file.graph == graph for file in opened.manifest.files.values()):
            continue
        file = opened.file(graph, chosen)
        model = TritonModel(f"{name}_{graph}", _BACKENDS[chosen], file)
        _write_model(opened, model, out, on_gpu=chosen in _ON_GPU)
        models.append(model)

    # OpenVINO Model Server reads ONNX files in the same folders; it runs on CPUs.
    if chosen not in _ON_GPU:
        entries = []
        for model in models:
            entry = {"name": model.name, "base_path": f"{_OVMS_ROOT}/{model.name}"}
            entries.append({"config": entry})
        tree = {"model_config_list": entries}
        write_atomic(out / "openvino_model_server.json", json.dumps(tree, indent=1) + "\n")
    return models


def _choose(bundle: Bundle, precision: str) -> str:
    """Return the precision to write.

    Raises:
        UsageError: the bundle has no files of it.
    """
    stored = [one for one in bundle.precisions() if one in _BACKENDS]
    if precision == "auto":
        best = bundle.best_precision("onnxruntime")
        return best if best in stored else stored[0]
    if precision not in stored:
        reason = "has no files of its own" if in_bf16(precision) else "is not in the bundle"
        raise UsageError(f"{precision} {reason}.", f"Choose from {', '.join(stored)}.")
    return precision


def _write_model(bundle: Bundle, model: TritonModel, out: Path, *, on_gpu: bool) -> None:
    """Copy the graph with its weights and write `config.pbtxt`, which is what makes it a model."""
    version = out / model.name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(bundle.path / model.file, version / "model.onnx")
    # The graph names the file of its weights, so that keeps its name.
    weights = f"{model.file}.data"
    if weights in bundle.manifest.files:
        shutil.copyfile(bundle.path / weights, version / weights)

    graph = onnx.load(str(bundle.path / model.file), load_external_data=False).graph
    lines = [
        f'name: "{model.name}"',
        f'backend: "{model.backend}"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {_MAX_BATCH}",
    ]
    for kind, ports in (("input", graph.input), ("output", graph.output)):
        lines += [f"{kind} [", ",\n".join(_port(port) for port in ports), "]"]

    lines += [
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {_DELAY_US}",
        f"  default_queue_policy {{ max_queue_size: {_QUEUE} }}",
        "}",
        f"instance_group [ {{ count: 1 kind: {'KIND_GPU' if on_gpu else 'KIND_CPU'} }} ]",
    ]
    if on_gpu:
        # The engines are kept beside the model: the first start takes minutes.
        lines += [
            "optimization { execution_accelerators {",
            '  gpu_execution_accelerator [ { name: "tensorrt"',
            '    parameters { key: "trt_engine_cache_enable" value: "1" }',
            f'    parameters {{ key: "trt_engine_cache_path" value: "/tmp/{model.name}" }}',
            "  } ]",
            "} }",
        ]
    write_atomic(out / model.name / "config.pbtxt", "\n".join(lines) + "\n")


def _port(port: onnx.ValueInfoProto) -> str:
    """Return an input or output in protobuf's text format, without the batch."""
    tensor = port.type.tensor_type
    dims = ", ".join(str(dim.dim_value) for dim in tensor.shape.dim[1:])
    datatype = _DATATYPES[tensor.elem_type]
    return f'  {{ name: "{port.name}" data_type: {datatype} dims: [ {dims} ] }}'
