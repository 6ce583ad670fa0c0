"""FP32 proof: torch against ONNX Runtime and OpenVINO, component by component, on real frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.export.checks.heldout_clips import encode_clip
from gasmcast.export.checks.parity import (
    Comparison,
    ParityReport,
    Tolerance,
    compare,
    compare_logits,
)
from gasmcast.export.checks.reference_engines import open_arbiter, open_uncached, torch_run
from gasmcast.export.graphs.trace import EncoderGraph, HeadGraph, is_streaming
from gasmcast.models.model import GasmCast
from gasmcast.runtime.engines import Engine

__all__ = ["FP32_TOLERANCE", "ONE_ENGINE", "compare_with_fp32", "verify_against_torch"]

FP32_TOLERANCE = Tolerance(error=1e-3, cosine=0.9999, top1=1.0)
_ANY = Tolerance(error=np.inf, cosine=-1.0, top1=0.0)
STRAY_EDGES = 1e-3
"""Share of the semantic features that may be further off: nodes of a frame's graph whose last edge falls the other way."""
COMPOSED_CLIPS = 1
"""Clips for a complete graph that is composed of encoder and head: its products were compared on every clip already, its seams were not."""
ONE_ENGINE: dict[str, Callable[[Path, int | None], Engine]] = {
    "onnxruntime": open_arbiter,
    "openvino": open_uncached,
}


def verify_against_torch(
    model: GasmCast,
    paths: dict[str, Path],
    clips: NDArray[np.uint8],
    *,
    tolerance: Tolerance = FP32_TOLERANCE,
    threads: int | None = None,
    each: Callable[[str], None] | None = None,
) -> ParityReport:
    """Compare every FP32 graph with the model it came from.

    Args:
        model: the origin, in eval mode.
        paths: graph name -> file, as `export_onnx` returns.
        clips: `(N, 1 + S, F, H, W, 3)` real frames.
        tolerance: for all comparisons.
        threads: of the engines.
        each: called with the name of what runs next.
    """
    say = each or (lambda _: None)
    say("torch")
    origin = _origin(model, clips)
    found: list[Comparison] = []
    streamed: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, opener in ONE_ENGINE.items():
        if "encoder" in paths:
            say(f"encoder on {name}")
            chosen = (
                replace(tolerance, stray=STRAY_EDGES) if model.encoder.graph_semantic else tolerance
            )
            features = _encode(opener(paths["encoder"], threads), clips)
            for tensor, its in (("semantic", chosen), ("motion", tolerance)):
                if origin[tensor].size:
                    found.append(
                        compare(
                            "encoder", tensor, name, origin[tensor], features[tensor], tolerance=its
                        )
                    )
            head = opener(paths["head"], threads)
            found.append(
                compare_logits(
                    "head", name, origin["logits"], _classify(head, origin), tolerance=tolerance
                )
            )
            streamed[name] = {**features, "logits": _classify(head, features)}
            found.append(
                compare_logits(
                    "streaming",
                    name,
                    origin["logits"],
                    streamed[name]["logits"],
                    tolerance=tolerance,
                )
            )
            del head
        say(f"complete on {name}")
        whole = opener(paths["complete"], threads)
        some = clips[:COMPOSED_CLIPS] if "encoder" in paths else clips
        logits = np.concatenate(
            [whole.run({"clip": np.ascontiguousarray(clip[None])})["logits"] for clip in some]
        )
        found.append(
            compare_logits(
                "complete", name, origin["logits"][: len(some)], logits, tolerance=tolerance
            )
        )
        del whole
    return ParityReport(tuple(found), streamed)


def compare_with_fp32(
    precision: str,
    fp32: Mapping[str, NDArray[np.float32]],
    found: Mapping[str, NDArray[np.float32]],
    head: Engine,
) -> tuple[Comparison, ...]:
    """What a precision changes: the encoder's maps, the head on FP32's maps, and both one after the other. The gate judges, not these.

    Args:
        precision: its name, which stands for the engine's.
        fp32: `semantic`, `motion` and `logits` of the FP32 graphs.
        found: the same of the precision, same clips.
        head: the precision's head.
    """
    maps = [
        compare("encoder", t, precision, fp32[t], found[t], tolerance=_ANY)
        for t in ("semantic", "motion")
        if fp32[t].size
    ]
    alone = compare_logits("head", precision, fp32["logits"], _classify(head, fp32), tolerance=_ANY)
    return (
        *maps,
        alone,
        compare_logits("streaming", precision, fp32["logits"], found["logits"], tolerance=_ANY),
    )


def _encode(engine: Engine, clips: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    rows = [encode_clip(engine.run, clip) for clip in clips]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _classify(head: Engine, features: Mapping[str, Any]) -> NDArray[np.float32]:
    pairs = zip(features["semantic"], features["motion"], strict=True)
    return np.concatenate(
        [
            head.run({"semantic": semantic[None], "motion": motion[None]})["logits"]
            for semantic, motion in pairs
        ]
    )


def _origin(model: GasmCast, clips: NDArray[np.uint8]) -> dict[str, Any]:
    """Features as streaming makes them, pair by pair, and logits of the whole clip: their agreement is a law of the model."""
    if not is_streaming(model):
        whole = torch_run(model, ("logits",))
        return {"logits": np.concatenate([whole({"clip": clip[None]})["logits"] for clip in clips])}
    encode, classify = (
        torch_run(EncoderGraph(model), ("semantic", "motion")),
        torch_run(HeadGraph(model), ("logits",)),
    )
    rows = [encode_clip(encode, clip) for clip in clips]
    rows = [{**row, **classify(row)} for row in rows]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
