"""Open a checkpoint or a bundle as one function from clips to logits.

A checkpoint runs in PyTorch, a bundle in its engines; both give the same `Classifier`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.data.malloc import keep_memory
from gasmcast.errors import MachineError, UsageError
from gasmcast.evaluation.predict import LogitsFunction
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.model import GasmCast
from gasmcast.runtime.bundle import Bundle
from gasmcast.spec import ClipSpec

__all__ = ["Classifier", "bundle_logits", "model_logits", "open_classifier"]

CHECKPOINT_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Classifier:
    """Classifier of clips with its name, sampling contract and classes."""

    name: str
    """File or folder, precision, and the engine of a bundle."""
    logits: LogitsFunction
    """Function from clips to logits."""
    spec: ClipSpec
    labels: Labels
    checkpoint: Path | None
    """Weights file of a checkpoint; None for a bundle."""
    fits_clips: bool = False
    """Whether the window was fitted to the length of the training clips."""


def open_classifier(target: Path, precision: str = "fp32", engine: str = "auto") -> Classifier:
    """Return a checkpoint, run folder or bundle as a classifier that is ready to run.

    Args:
        target: a checkpoint file, a run folder, or a bundle.
        precision: fp32, bf16 or fp16 for a checkpoint; one of its precisions for a bundle.
        engine: backend that runs a bundle: auto, tensorrt, openvino or onnxruntime. Ignored for a
            checkpoint, which PyTorch runs.

    Raises:
        UsageError: the target is none of these, is damaged, or lacks this precision.
        MachineError: the backend or the precision is not available on this machine.
    """
    if (target / "manifest.json").is_file():
        return _open_bundle(target, precision, engine)
    return _open_checkpoint(target, precision)


def model_logits(model: GasmCast, precision: str = "fp32") -> LogitsFunction:
    """Return a function from clips to logits that runs a model in PyTorch, on the GPU if present.

    Args:
        model: the model in eval mode; it is moved to the device.
        precision: fp32, or bf16 or fp16 by autocast.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_memory()
    model.to(device)

    dtype = CHECKPOINT_PRECISIONS[precision]
    mixed = precision != "fp32"

    def logits(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(clips)).to(device)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=mixed):
            output = model(batch)
        return np.asarray(output.float().cpu().numpy())

    return logits


def bundle_logits(
    bundle: Bundle, precision: str, engine: str = "auto"
) -> tuple[LogitsFunction, str]:
    """Return a function from clips to logits that runs a bundle, and the engine's description.

    The function runs what `gasmcast live` runs: the encoder on each pair of segments, then the
    head. A bundle that has no such pair of graphs in this precision runs its complete graph.

    Args:
        bundle: an open bundle.
        precision: one of its precisions.
        engine: backend: auto, tensorrt, openvino or onnxruntime.

    Raises:
        UsageError: the bundle does not have this precision.
        MachineError: the backend is not available on this machine.
    """
    if precision in bundle.precisions():
        encoder = bundle.engine("encoder", precision, engine)
        head = bundle.engine("head", precision, engine)

        def streamed(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            # Each pair is a segment and its predecessor; the first one starts at the lead-in.
            segments = []
            for i in range(clips.shape[1] - 1):
                pair = np.ascontiguousarray(clips[:, i : i + 2])  # (B, 2, F, H, W, 3)
                segments.append(encoder.run({"segments": pair}))

            # The head reads (B, S, ...), one row a segment.
            feeds = {
                name: np.stack([segment[name] for segment in segments], axis=1)
                for name in head.inputs
            }
            return head.run(feeds)["logits"]

        return streamed, encoder.describe()

    complete_precisions = {
        file.precision
        for file in bundle.manifest.files.values()
        if file.graph == "complete" and file.precision
    }
    # `Bundle.engine` would silently fall back to another precision under this one's name.
    if precision not in complete_precisions:
        available = sorted(complete_precisions.union(bundle.precisions()))
        raise UsageError(f"{bundle.path} has no {precision}.", f"It has {', '.join(available)}.")

    complete = bundle.engine("complete", precision, engine)
    return lambda clips: complete.run({"clip": clips})["logits"], complete.describe()


def _open_bundle(target: Path, precision: str, engine: str) -> Classifier:
    bundle = Bundle.open(target)
    logits, description = bundle_logits(bundle, precision, engine)
    return Classifier(
        name=f"{target.name} {precision} ({description})",
        logits=logits,
        spec=bundle.manifest.spec,
        labels=bundle.labels,
        checkpoint=None,
        fits_clips=bundle.manifest.fits_clips,
    )


def _open_checkpoint(target: Path, precision: str) -> Classifier:
    if precision not in CHECKPOINT_PRECISIONS:
        raise UsageError(
            f"A checkpoint has no precision {precision!r}.",
            f"Use {', '.join(CHECKPOINT_PRECISIONS)}; evaluate a bundle for int8.",
        )
    # Autocast to FP16 is made for GPUs; CPUs have BF16.
    if precision == "fp16" and not torch.cuda.is_available():
        raise MachineError(
            "fp16 in PyTorch needs a GPU.",
            "Use --precision fp32 or bf16, or evaluate an exported bundle.",
        )

    model, config, labels, info = load_checkpoint(target)
    file = Path(info["path"])
    return Classifier(
        name=f"{file.parent.name}/{file.name} {precision}",
        logits=model_logits(model, precision),
        spec=config.spec,
        labels=labels,
        checkpoint=file,
        fits_clips=config.train.fit_window,
    )
