"""Compare the FP32 graphs with torch, component by component, on ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.comparison import Comparison, Tolerance, compare
from gasmcast.errors import GateError
from gasmcast.export.checks.parity import ParityReport, compare_logits
from gasmcast.export.checks.reference_engines import open_reference, open_uncached, torch_run
from gasmcast.export.checks.run_clips import encode_clip, run_complete, run_head
from gasmcast.export.graphs.trace import EncoderGraph, HeadGraph, is_streaming
from gasmcast.models.model import GasmCast
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines import Engine, join_batches

__all__ = [
    "compare_with_fp32",
    "require_parity",
    "verify_against_torch",
]

FP32_TOLERANCE = Tolerance(error=1e-3, cosine=0.9999, top1=1.0)
STRAY_EDGES = 1e-3
"""Share of semantic features that may exceed the tolerance: rounding can change the last edge that
a graph node selects."""
COMPOSED_CLIPS = 1
"""Clips for a complete graph that is composed of encoder and head. Both were compared on every
clip, so only the nodes that join them are new."""
REFERENCE_ENGINES: dict[str, Callable[[Path, int | None], Engine]] = {
    "onnxruntime": open_reference,
    "openvino": open_uncached,
}
_NO_LIMIT = Tolerance(error=np.inf, cosine=-1.0, top1=0.0)

Outputs = dict[str, NDArray[np.float32]]


def verify_against_torch(
    model: GasmCast,
    paths: dict[str, Path],
    clips: NDArray[np.uint8],
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> ParityReport:
    """Compare every FP32 graph with the model that it was traced from.

    Args:
        model: origin of the graphs, in eval mode.
        paths: graph name -> file, as `export_onnx` returns.
        clips: real frames `(N, 1 + S, F, H, W, 3)`.
        threads: CPU threads of the engines; all cores if None.
        progress: called before each run.

    Returns:
        The comparisons, and the outputs of encoder and head by engine; truthy if all comparisons
        are within the tolerance.
    """
    progress("parity: torch")
    expected = _run_torch(model, clips)

    comparisons: list[Comparison] = []
    streamed: dict[str, Outputs] = {}
    for engine, open_graph in REFERENCE_ENGINES.items():
        if "encoder" in paths:
            progress(f"parity: encoder on {engine}")
            features = _encode(open_graph(paths["encoder"], threads), clips)
            limits = {"semantic": FP32_TOLERANCE, "motion": FP32_TOLERANCE}
            if model.encoder.graph_semantic:
                limits["semantic"] = replace(FP32_TOLERANCE, stray=STRAY_EDGES)
            comparisons += _compare_features(engine, expected, features, limits)

            # The head on torch's features shows its own error, on the encoder's the error of both.
            head = open_graph(paths["head"], threads)
            streamed[engine] = {**features, "logits": _classify(head, features)}
            for component, logits in (
                ("head", _classify(head, expected)),
                ("streaming", streamed[engine]["logits"]),
            ):
                comparisons.append(
                    compare_logits(
                        component, engine, expected["logits"], logits, tolerance=FP32_TOLERANCE
                    )
                )
            del head

        # The complete graph is the largest: the head's engine is freed before.
        progress(f"parity: complete on {engine}")
        some = clips[:COMPOSED_CLIPS] if "encoder" in paths else clips
        logits = run_complete(open_graph(paths["complete"], threads), some)
        reference = expected["logits"][: len(some)]
        comparisons.append(
            compare_logits("complete", engine, reference, logits, tolerance=FP32_TOLERANCE)
        )
    return ParityReport(tuple(comparisons), streamed)


def require_parity(report: ParityReport) -> None:
    """Refuse graphs that do not compute what torch computes.

    Raises:
        GateError: a comparison fails; the message names the component that broke first.
    """
    if not report:
        text = str(report)
        raise GateError(f"{text[0].upper()}{text[1:]}.", "Nothing was written.")


def compare_with_fp32(
    precision: str,
    fp32: Mapping[str, NDArray[np.float32]],
    outputs: Mapping[str, NDArray[np.float32]],
    head: Engine,
) -> tuple[Comparison, ...]:
    """Measure how far a precision is from FP32, component by component; no limit applies.

    Compared are the encoder's features, the head on FP32's features, and both one after the other.
    The accuracy gate judges a precision, these figures explain it.

    Args:
        precision: name of the precision, reported as the engine.
        fp32: `semantic`, `motion` and `logits` of the FP32 graphs.
        outputs: the same of the precision, on the same clips.
        head: the precision's head.

    Returns:
        Comparisons of each tensor of the encoder, of the head alone, and of both (`streaming`).
    """
    limits = {"semantic": _NO_LIMIT, "motion": _NO_LIMIT}
    features = _compare_features(precision, fp32, outputs, limits)

    reference, head_logits = fp32["logits"], _classify(head, fp32)
    return (
        *features,
        compare_logits("head", precision, reference, head_logits, tolerance=_NO_LIMIT),
        compare_logits("streaming", precision, reference, outputs["logits"], tolerance=_NO_LIMIT),
    )


def _compare_features(
    engine: str,
    expected: Mapping[str, NDArray[np.float32]],
    features: Mapping[str, NDArray[np.float32]],
    limits: Mapping[str, Tolerance],
) -> Iterator[Comparison]:
    for tensor, limit in limits.items():
        # A model with one stream has features of size 0 for the other.
        if expected[tensor].size:
            yield compare(
                "encoder", tensor, engine, expected[tensor], features[tensor], tolerance=limit
            )


def _encode(engine: Engine, clips: NDArray[np.uint8]) -> Outputs:
    return join_batches([encode_clip(engine.run, clip) for clip in clips])


def _classify(head: Engine, features: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return logits `(N, classes)`, clip by clip."""
    return run_head(
        head,
        (
            {"semantic": semantic[None], "motion": motion[None]}
            for semantic, motion in zip(features["semantic"], features["motion"], strict=True)
        ),
    )


def _run_torch(model: GasmCast, clips: NDArray[np.uint8]) -> Outputs:
    """Return torch's features, encoded pair by pair as in the runtime, and its logits.

    That the logits equal those of the whole clip is a law of the model, with a test of its own.
    """
    if not is_streaming(model):
        # A motion stream that sees the whole clip has no features per segment.
        complete = torch_run(model, ("logits",))
        return join_batches([complete({"clip": clip[None]}) for clip in clips])

    encode = torch_run(EncoderGraph(model), ("semantic", "motion"))
    classify = torch_run(HeadGraph(model), ("logits",))

    rows = []
    for clip in clips:
        features = encode_clip(encode, clip)
        rows.append({**features, **classify(features)})
    return join_batches(rows)
