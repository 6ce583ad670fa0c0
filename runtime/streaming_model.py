"""Streaming pair of a bundle: encoder and head in one precision, compiled for this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.manifest import AlarmThresholds
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.camera.ring import Features, Window
from gasmcast.runtime.engines import Engine, ResidentEngine, choose_backend, join_batches
from gasmcast.runtime.engines.device_row import DeviceWindow
from gasmcast.spec import ClipSpec

__all__ = ["Model", "OpenedModel", "open_model"]


class ResidentPair(NamedTuple):
    """Encoder and head that pass features on in the memory of their device."""

    encoder: ResidentEngine
    head: ResidentEngine


@dataclass(frozen=True)
class Model:
    """Engines that a pipeline runs, and the meaning of their inputs and outputs."""

    encoder: Engine
    head: Engine
    spec: ClipSpec
    labels: Labels
    temperature: float = 1.0
    no_action: float | None = None
    """Threshold on the largest smoothed logit; None: there is always an action."""
    reopen: Callable[[], Model] | None = None
    """Compiles the engines again, to replace one that hangs."""
    for_throughput: Callable[[], Model] | None = None
    """Compiles the engines for several rows at a time; None: done already, or not supported."""
    rows_at_once: int = 1
    """Rows of a batch that the engines compute at the same time, each on threads of its own."""
    alarms: AlarmThresholds | None = None
    """Thresholds of events that `gasmcast threshold` chose for this precision."""
    precision: str = ""
    """Precision of the bundle that the engines run."""

    @cached_property
    def resident(self) -> ResidentPair | None:
        """Both engines, if features can stay on their device; None: they travel over the host."""
        encoder, head = self.encoder, self.head
        if not (isinstance(encoder, ResidentEngine) and isinstance(head, ResidentEngine)):
            return None

        # The head reads what the encoder wrote, byte by byte: nothing converts types on the way.
        written = {name: one.dtype for name, one in encoder.row_layout.tensors.items()}
        read = {name: spec.dtype for name, spec in head.inputs.items()}
        return ResidentPair(encoder, head) if written == read else None

    @property
    def device_bytes(self) -> int:
        """Bytes of device memory that the feature ring of a camera takes; 0 on a CPU."""
        if self.resident is None:
            return 0
        return self.spec.segments * self.resident.encoder.row_layout.nbytes

    def encode(self, pairs: NDArray[np.uint8]) -> list[Features]:
        """Encode segments in one batch.

        Args:
            pairs: `(B, 2, F, H, W, 3)` RGB: each segment behind its predecessor.

        Returns:
            Features of each segment, on the device where the engines support it.

        Raises:
            MachineError: the device failed, or has no memory left.
        """
        if self.resident is not None:
            return [*self.resident.encoder.run_to_device({"segments": pairs})]

        outputs = self.encoder.run({"segments": pairs})
        return [{name: value[row] for name, value in outputs.items()} for row in range(len(pairs))]

    def fuse(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return the logits `(B, classes)` of B windows of encoded segments, from one batch.

        Raises:
            MachineError: the device failed.
        """
        if self.resident is not None:
            on_device = [window for window in windows if isinstance(window, DeviceWindow)]
            if len(on_device) == len(windows):
                return self.resident.head.run_from_device(on_device)["logits"]

        # A single window stays a view of the ring.
        return self.head.run(join_batches(windows))["logits"]

    def device_window(self, pair: NDArray[np.uint8]) -> DeviceWindow | None:
        """Return a window on the device that repeats one segment, to time the head; None on a CPU.

        Args:
            pair: `(1, 2, F, H, W, 3)` RGB.
        """
        if self.resident is None:
            return None
        row = self.resident.encoder.run_to_device({"segments": pair})[0]
        return DeviceWindow((row,) * self.spec.segments)

    @property
    def event_defaults(self) -> dict[str, Any]:
        """Settings of events that the bundle states, by name."""
        if self.alarms is None:
            return {}
        return self.alarms.model_dump(include={"on", "off", "min_s", "label_on"})


class OpenedModel(NamedTuple):
    """Model and a description of its engines."""

    model: Model
    description: str
    """One line: precision, backend, device, and why both were chosen."""


def open_model(
    bundle: Path,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    *,
    verify: bool = True,
    tempo: float = 1.0,
) -> OpenedModel:
    """Compile the streaming pair of a bundle for this machine.

    Args:
        bundle: folder that `gasmcast export` wrote.
        engine: backend: `auto`, `tensorrt`, `openvino` or `onnxruntime`.
        precision: `auto` for the fastest one on that backend, or a precision of the bundle.
        threads: CPU threads; None: all cores.
        verify: compare the checksum of every file.
        tempo: how many times as fast as in the training the actions are.

    Raises:
        UsageError: not a bundle, altered, without that precision, or without streaming graphs.
        MachineError: the backend cannot be used on this machine.
    """
    backend, why = choose_backend(engine)
    opened = Bundle.open(bundle, verify)
    chosen = opened.best_precision(backend) if precision == "auto" else precision
    measured = opened.measured(chosen)

    # A function, because a stage that hangs in an engine needs new ones.
    def compile_pair(*, throughput: bool) -> Model:
        encoder = opened.engine("encoder", chosen, backend, threads, throughput=throughput)
        several = backend == "openvino" and not throughput
        return Model(
            encoder=encoder,
            head=opened.engine("head", chosen, backend, threads, throughput=throughput),
            spec=opened.manifest.spec.at_tempo(tempo),
            labels=opened.labels,
            temperature=measured.temperature,
            no_action=measured.no_action,
            reopen=partial(compile_pair, throughput=throughput),
            for_throughput=partial(compile_pair, throughput=True) if several else None,
            rows_at_once=getattr(encoder, "rows_at_once", 1),
            alarms=measured.alarms,
            precision=chosen,
        )

    model = compile_pair(throughput=False)
    mismatch = _mismatch(model)
    if mismatch:
        raise UsageError(f"{bundle}: {mismatch}.", "Export the bundle again.")
    reason = ""
    if precision == "auto":
        reason = f", {opened.precision_reason(chosen, backend)},"
    description = f"{chosen}{reason} by {model.encoder.describe()} ({why})"
    if model.device_bytes:
        description += f", {model.device_bytes / 1e6:.1f} MB of device memory per camera"
    return OpenedModel(model, description)


def _mismatch(model: Model) -> str:
    """Return how the head contradicts the encoder or the window; empty if they fit.

    Each graph was compared with the manifest when it was opened. Graphs of two different models
    would only fail at the first window.
    """
    encoder, head, spec = model.encoder, model.head, model.spec
    if set(head.inputs) != set(encoder.outputs):
        return (
            f"its head takes {', '.join(head.inputs)}, and its encoder gives "
            f"{', '.join(encoder.outputs)}"
        )

    # The head takes the encoder's outputs, one for each segment of the window.
    for name, output in encoder.outputs.items():
        given = (spec.segments, *output.shape[1:])
        if not _fits(head.inputs[name].shape[1:], given):
            return (
                f"{name} of a window is {_product(given)}, and its head takes "
                f"{_product(head.inputs[name].shape[1:])}"
            )
    return ""


def _fits(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Return whether two shapes may be the same; None is any size."""
    if len(shape) != len(other):
        return False
    return all(a == b or a is None or b is None for a, b in zip(shape, other, strict=True))


def _product(shape: tuple[int | None, ...]) -> str:
    # A damaged manifest may hold numbers of any length.
    return " x ".join("?" if size is None else str(size)[:20] for size in shape)
