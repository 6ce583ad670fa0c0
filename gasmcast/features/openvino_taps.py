"""Compute backbone taps on a CPU with OpenVINO, in a third to a half of the time of PyTorch.

The frozen backbones are converted in memory, for one pair of segments: a clip is its pairs, as in
streaming. OpenVINO computes in BF16 where the CPU does. Evidence that these features are
equivalent: docs/experiments/small_data.md.
"""

from __future__ import annotations

import warnings
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gasmcast.errors import MachineError
from gasmcast.models.model import GasmCast
from gasmcast.runtime.engines.openvino_import import load_openvino, the_core
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["OpenVinoTaps"]

LARGEST_ERROR = 0.2
"""Largest difference from PyTorch, relative to the spread of a tap. BF16 reaches 0.01 to 0.06."""


class OpenVinoTaps:
    """Function from clips to rows of a feature cache, as `GasmCast.backbone_taps`.

    Example:
        >>> taps = OpenVinoTaps(model)
        >>> taps(clips).shape  # clips (B, 1+S, F, H, W, 3) uint8
        torch.Size([4, 200704])
    """

    def __init__(self, model: GasmCast) -> None:
        """Convert and compile the backbones of `model`; takes seconds.

        Args:
            model: on the CPU; its motion backbone must see single pairs or segments, not the whole
                clip (`motion_context` other than `clip`).

        Raises:
            MachineError: OpenVINO cannot convert them, computes something else than PyTorch, or
                there is too little memory.
        """
        semantic, motion = model.encoder.tap_shapes()
        self._sizes = [prod(shape[1:]) for shape in (*semantic, *motion)]  # numbers per segment
        spec = model.spec
        pair = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, spec.pair_shape, np.uint8)[None]
        )
        try:
            self._compiled = _compile(model, pair)
        except (RuntimeError, MemoryError, ImportError) as error:
            raise_if_shortage(error, "OpenVINO cannot compile the backbones")
            raise MachineError(
                f"OpenVINO cannot convert the backbones ({str(error).splitlines()[0]}).",
                "Use --set train.cache_encoder=torch.",
            ) from error
        self._check(model, pair)

    def __call__(self, clips: Tensor) -> Tensor:
        """Return the rows `(B, X)` float32 of clips `(B, 1+S, F, H, W, 3)` uint8."""
        frames = clips.numpy()
        segments = frames.shape[1] - 1
        results: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * (len(clips) * segments)

        # As many pairs at once as OpenVINO has streams, so that no core waits.
        queue = load_openvino().AsyncInferQueue(self._compiled, 0)
        queue.set_callback(
            lambda request, i: results.__setitem__(i, request.get_output_tensor(0).data[0].copy())
        )
        for i in range(len(results)):
            clip, segment = divmod(i, segments)
            pair = np.ascontiguousarray(frames[clip : clip + 1, segment : segment + 2])
            queue.start_async({0: pair}, i)
        queue.wait_all()

        # A row holds tap after tap, each over all segments.
        of_segments = np.stack(results).reshape(len(clips), segments, -1)
        parts = np.split(of_segments, np.cumsum(self._sizes)[:-1], axis=2)
        rows = np.concatenate([part.reshape(len(clips), -1) for part in parts], axis=1)
        return torch.from_numpy(rows)

    def _check(self, model: GasmCast, pair: Tensor) -> None:
        """Raise MachineError if a tap differs from PyTorch's by more than BF16 explains."""
        with torch.inference_mode():
            expected = model.backbone_taps(pair)[0].numpy()
        got = self(pair)[0].numpy()
        ends = np.cumsum(self._sizes)[:-1]
        for ours, theirs in zip(np.split(got, ends), np.split(expected, ends), strict=True):
            error = float(np.linalg.norm(ours - theirs))
            spread = float(np.linalg.norm(theirs - theirs.mean()))
            if not error <= LARGEST_ERROR * spread:
                raise MachineError(
                    f"OpenVINO's features differ from PyTorch's by {error / spread:.0%}.",
                    "Use --set train.cache_encoder=torch.",
                )


class _Taps(nn.Module):
    """The part of a model that is converted."""

    def __init__(self, model: GasmCast) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, segments: Tensor) -> Tensor:
        """Map `(B, 1 + n, F, H, W, 3)` uint8 to rows `(B, X)`."""
        return self.encoder.taps(segments)


def _compile(model: GasmCast, pair: Tensor) -> Any:  # noqa: ANN401 - OpenVINO is untyped
    """Return the compiled network for one pair `(1, 2, F, H, W, 3)` uint8."""
    openvino = load_openvino()
    with warnings.catch_warnings(), torch.no_grad():
        # They concern what is constant here: the shapes.
        warnings.simplefilter("ignore")
        program = torch.export.export(_Taps(model).eval(), (pair,))
        network = openvino.convert_model(program)
    return the_core().compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if _has_bf16() else "f32",
        },
    )


def _has_bf16() -> bool:
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
