"""Open a checkpoint or a bundle with everything that an explanation asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.evaluation.classifier import bundle_logits, model_logits
from gasmcast.evaluation.metrics import log_softmax
from gasmcast.evaluation.predict import LogitsFunction
from gasmcast.evaluation.temperature import read_temperature
from gasmcast.files import sha256_of
from gasmcast.labels import Labels
from gasmcast.model_config import ModelConfig
from gasmcast.models.attention_maps import clip_maps
from gasmcast.models.checkpoint import load_checkpoint
from gasmcast.models.head.fusion_layer import FusionLayer
from gasmcast.models.model import GasmCast
from gasmcast.runtime.bundle import Bundle
from gasmcast.spec import ClipSpec

__all__ = ["Explained", "Subject", "open_bundle", "open_checkpoint"]

Clip = NDArray[np.uint8]
"""`(1 + S, F, H, W, 3)` uint8 RGB."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Explained:
    """Attention and partial logits of one clip."""

    maps: dict[str, Floats]
    """Maps by the names of `gasmcast.models.attention_layout`, without a batch."""
    streams: dict[str, Floats]
    """Logits `(classes,)` of each read-out: `semantic`, `motion`, in a guarded model `fused`."""
    depths: list[Floats]
    """Logits `(classes,)` read out after 1, 2, ... fusion layers; empty for a bundle."""
    cut: dict[str, Floats] = field(default_factory=dict)
    """Logits `(classes,)` of each read-out with the exchange between the streams cut; empty for a
    bundle, and where no read-out depends on the exchange but `fused`.
    """


@dataclass(frozen=True)
class Subject:
    """Model that is explained."""

    name: str
    spec: ClipSpec
    labels: Labels
    config: ModelConfig
    temperature: float
    logits: LogitsFunction
    """Function from clips `(B, 1 + S, F, H, W, 3)` to logits `(B, classes)`."""
    explain: Callable[[Clip], Explained]
    notes: tuple[str, ...] = ()
    """Sentences on what this subject cannot show."""

    @property
    def independent(self) -> bool:
        """True if the read-out of each stream sees that stream alone, without any exchange."""
        model = self.config
        return model.streams != "both" or model.read_out == "guarded" or model.fusion == "late"

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated probabilities `(N, classes)` of logits."""
        return np.exp(log_softmax(np.asarray(logits, np.float64) / self.temperature))


def open_checkpoint(path: Path) -> Subject:
    """Open a checkpoint or run folder; PyTorch runs it.

    Raises:
        UsageError: the file is no checkpoint, or damaged.
    """
    model, config, labels, info = load_checkpoint(path)
    file = Path(info["path"])
    run = model_logits(model)
    device = next(model.parameters()).device
    return Subject(
        name=f"{file.parent.name}/{file.name}",
        spec=config.spec,
        labels=labels,
        config=config.model,
        temperature=read_temperature(file, sha256_of(file)) or 1.0,
        logits=run,
        explain=lambda clip: _explain_model(model, torch.from_numpy(clip[None]).to(device)),
        notes=tuple(_missing_parts(config.model)),
    )


def open_bundle(path: Path, engine: str = "auto") -> Subject:
    """Open a bundle that has attention twins, in FP32.

    Args:
        path: folder of the bundle.
        engine: backend that runs it.

    Raises:
        UsageError: not a bundle, or one without attention graphs.
        MachineError: the backend cannot be used here.
    """
    bundle = Bundle.open(path)
    if not bundle.has_attention:
        raise UsageError(
            f"{path} has no attention graphs, so nothing of it can be explained.",
            "Export it again with --attention, or explain its checkpoint.",
        )
    config = ModelConfig.model_validate(bundle.manifest.model)
    encoder = bundle.engine("encoder_attention", "fp32", engine)
    head = bundle.engine("head_attention", "fp32", engine)
    logits, description = bundle_logits(bundle, "fp32", engine)

    def explain(clip: Clip) -> Explained:
        pairs = [encoder.run({"segments": clip[None, i : i + 2]}) for i in range(len(clip) - 1)]
        window = {name: np.stack([pair[name] for pair in pairs], 1) for name in head.inputs}
        outputs = {name: value[0] for name, value in head.run(window).items()}

        # The graphs of all segments together are those of the window's frames.
        for name in pairs[0].keys() - head.inputs.keys():
            if name.startswith("semantic_graph."):
                outputs[name] = np.concatenate([pair[name][0] for pair in pairs])
        return _explain_outputs(outputs)

    notes = _missing_parts(config)
    notes.append(
        "A bundle has no outputs between its fusion layers, and its exchange cannot be cut: what "
        "each layer adds and what a stream of a joint model says alone needs the checkpoint"
    )
    return Subject(
        name=f"{path.name} fp32 ({description})",
        spec=bundle.manifest.spec,
        labels=bundle.labels,
        config=config,
        temperature=bundle.measured("fp32").temperature,
        logits=logits,
        explain=explain,
        notes=tuple(notes),
    )


@torch.inference_mode()
def _explain_model(model: GasmCast, clip: torch.Tensor) -> Explained:
    features = model.encode(clip)

    # The read-outs of the last layer read earlier tokens too; the page says what that means.
    depths = []
    for depth in range(1, model.config.layers + 1):
        scores: dict[str, torch.Tensor] = model.head(features, depth)[0]
        depths.append(_plain(model.pool(scores)[0]))

    cut: dict[str, torch.Tensor] = {}
    joint = model.config.streams == "both" and not model.head.guarded
    if joint and model.config.fusion != "late":
        with _exchange_cut(model):
            cut = model.head(features).scores
    return Explained(
        maps={name: _plain(value[0]) for name, value in clip_maps(model, clip).items()},
        streams={name: _plain(value[0]) for name, value in scores.items()},
        depths=depths,
        cut={name: _plain(value[0]) for name, value in cut.items()},
    )


@contextmanager
def _exchange_cut(model: GasmCast) -> Iterator[None]:
    """Run every fusion layer without its exchange, so that no stream sees the other."""
    layers = [layer for layer in model.head.layers if isinstance(layer, FusionLayer)]
    exchanges = [layer.exchange for layer in layers]
    try:
        for layer in layers:
            layer.exchange = None
        yield
    finally:
        for layer, exchange in zip(layers, exchanges, strict=True):
            layer.exchange = exchange


def _explain_outputs(outputs: dict[str, Floats]) -> Explained:
    """Return the explanation that a pair of twins gives."""
    prefix = "stream."
    streams = {
        name.removeprefix(prefix): value
        for name, value in outputs.items()
        if name.startswith(prefix)
    }
    # Both fused read-outs are one opinion to the outside, as in `FusionHead`.
    if "fused_semantic" in streams:
        halves = streams.pop("fused_semantic"), streams.pop("fused_motion")
        streams["fused"] = np.asarray(halves, np.float32).mean(0)
    hidden = ("logits", *(name for name in outputs if name.startswith(prefix)))
    maps = {name: value for name, value in outputs.items() if name not in hidden}
    return Explained(maps, streams, [])


def _missing_parts(config: ModelConfig) -> list[str]:
    """Return sentences on the parts that an ablation lacks, and whose maps do not exist."""
    notes = []
    if config.streams != "both":
        notes.append(
            f"The model has the {config.streams} stream alone, so there is no cross-attention and "
            "no other stream to compare with"
        )
    elif config.fusion not in ("bcast", "full"):
        notes.append(f"Its fusion is {config.fusion!r}, which has no cross-attention to show")
    if config.streams != "motion" and config.graph_semantic == "none":
        notes.append("It has no semantic graph, so no patch listens to another in a frame")
    if config.streams != "semantic" and config.graph_motion == "none":
        notes.append("It has no motion graph, so no segment listens to another")
    return notes


def _plain(value: Any) -> Floats:  # noqa: ANN401 - a tensor
    return np.asarray(value.float().cpu().numpy())
