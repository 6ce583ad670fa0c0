"""Models that a server offers for a bundle: whole clips, and segments of a sequence."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.v2_tensors import InferRequest, Port

__all__ = ["ClipModel", "ServedModel"]


class ServedModel(Protocol):
    """One entry of the server's list of models."""

    name: str
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    largest_input: int
    """Bytes of the largest input that is accepted."""
    about: dict[str, Any]
    """Facts for the model's metadata."""

    async def infer(self, request: InferRequest) -> dict[str, NDArray[Any]]:
        """Return all outputs.

        Raises:
            UsageError: the request cannot be answered; the client must change it.
            BusyError: it could be answered later.
        """
        ...

    def sweep(self) -> None:
        """Forget state that nobody has used for long; called every few seconds."""
        ...

    def counts(self) -> dict[str, int]:
        """Return what the model holds now, for the metrics."""
        ...


class ClipModel:
    """Stateless model: clips in, logits and calibrated probabilities out.

    The lead-in and all segments of a clip go through the encoder, and its window through the head.

    Args:
        name: name of the model.
        engines: engines of the bundle.
        max_clips: clips of one request.
    """

    def __init__(self, name: str, engines: ServedEngines, max_clips: int) -> None:
        model = engines.model
        classes = len(model.labels.names)
        self.name = name
        self.inputs = {"clip": Port("clip", "UINT8", (-1, *model.spec.clip_shape))}
        self.outputs = {
            "logits": Port("logits", "FP32", (-1, classes)),
            "probabilities": Port("probabilities", "FP32", (-1, classes)),
        }
        self.largest_input = max_clips * int(np.prod(model.spec.clip_shape))
        self.about = {"labels": list(model.labels.names), "max_clips": max_clips}
        self._engines = engines
        self._max_clips = max_clips

    async def infer(self, request: InferRequest) -> dict[str, NDArray[Any]]:
        """Return `logits` and `probabilities`, `(B, classes)`, of `clip` `(B, 1+S, F, H, W, 3)`."""
        clips = request.inputs["clip"]
        if len(clips) > self._max_clips:
            raise UsageError(f"A request may hold {self._max_clips} clips, it has {len(clips)}.")

        # Clips wait for each other only in the batches of the engines.
        features = await asyncio.gather(*(self._engines.encode(clip) for clip in clips))
        names = features[0]
        windows = {name: np.stack([one[name] for one in features]) for name in names}
        logits = await self._engines.fuse(windows)  # (B, classes)

        scaled = logits.astype(np.float64) / self._engines.model.temperature
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = exponents / exponents.sum(axis=1, keepdims=True)
        return {"logits": logits, "probabilities": probabilities.astype(np.float32)}

    def sweep(self) -> None:
        """Do nothing; there is no state."""

    def counts(self) -> dict[str, int]:
        """Return nothing; there is no state."""
        return {}
