"""What an evaluation is of: a checkpoint in PyTorch or a bundle in its engines, behind one function from clips to logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.data.malloc import keep_memory
from gasmcast.errors import MachineError, UsageError
from gasmcast.evaluation.predict import Run
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.model import GasmCast
from gasmcast.runtime.bundle import Bundle
from gasmcast.spec import ClipSpec

__all__ = ["Subject", "open_subject", "run_bundle", "run_model"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Subject:
    """Something that classifies clips."""

    name: str
    run: Run
    spec: ClipSpec
    labels: Labels
    checkpoint: Path | None
    """Its file; None for a bundle."""


def open_subject(target: Path, precision: str = "fp32", backend: str = "auto") -> Subject:
    """A checkpoint, a run folder or a bundle, ready to run.

    Raises:
        UsageError: none of them, damaged, or without this precision.
        MachineError: the backend or precision is not to be had on this machine.
    """
    if (target / "manifest.json").is_file():
        bundle = Bundle.open(target)
        run, engine = run_bundle(bundle, precision, backend)
        return Subject(
            f"{target.name} {precision} ({engine})", run, bundle.manifest.spec, bundle.labels, None
        )
    if precision not in PRECISIONS:
        raise UsageError(
            f"--precision {precision!r} is not one of a checkpoint's.",
            f"Use {', '.join(PRECISIONS)}; int8 is a bundle's.",
        )
    if precision == "fp16" and not torch.cuda.is_available():
        raise MachineError(
            "fp16 in PyTorch needs a GPU.",
            "Use --precision fp32 or bf16, or evaluate an exported bundle.",
        )
    model, config, labels, info = load_checkpoint(target)
    file = Path(info["path"])
    return Subject(
        f"{file.parent.name}/{file.name} {precision}",
        run_model(model, precision),
        config.spec,
        labels,
        file,
    )


def run_model(model: GasmCast, precision: str = "fp32") -> Run:
    """A function from a batch of clips to logits, on the GPU where there is one.

    Args:
        model: in eval mode; it is moved.
        precision: fp32, or bf16 or fp16 by autocast.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_memory()
    model.to(device)

    def run(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32"),
        ):
            logits = model(torch.from_numpy(np.ascontiguousarray(clips)).to(device))
        return np.asarray(logits.float().cpu().numpy())

    return run


def run_bundle(
    bundle: Bundle, precision: str, backend: str = "auto", threads: int | None = None
) -> tuple[Run, str]:
    """A function from a batch of clips to logits through a bundle's engines, and how the engine describes itself.

    It runs what `gasmcast live` runs: the encoder on each pair of segments, then the head. Where the bundle has no such pair of
    graphs in this precision, its complete graph.

    Raises:
        UsageError: the bundle has no such precision.
        MachineError: the backend is not to be had on this machine.
    """
    if precision in bundle.precisions():
        encoder, head = (
            bundle.engine(graph, precision, backend, threads) for graph in ("encoder", "head")
        )

        def stream(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            steps = [
                encoder.run({"segments": np.ascontiguousarray(clips[:, s : s + 2])})
                for s in range(clips.shape[1] - 1)
            ]
            return head.run(
                {name: np.stack([step[name] for step in steps], 1) for name in head.inputs}
            )["logits"]

        return stream, encoder.describe()
    whole = {
        f.precision for f in bundle.manifest.files.values() if f.graph == "complete" and f.precision
    }
    if (
        precision not in whole
    ):  # `engine` would give the precision that it falls back to, under this one's name
        raise UsageError(
            f"{bundle.path} has no {precision}.",
            f"It has {', '.join(sorted(whole.union(bundle.precisions())))}.",
        )
    complete = bundle.engine("complete", precision, backend, threads)
    return lambda clips: complete.run({"clip": clips})["logits"], complete.describe()
