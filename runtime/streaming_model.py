"""Streaming pair of a bundle: encoder and head in one precision, compiled for this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.manifest import AlarmThresholds
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import Engine, choose_backend
from gasmcast.spec import ClipSpec

__all__ = ["Model", "OpenedModel", "open_model"]


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
    alarms: AlarmThresholds | None = None
    """Thresholds of events that `gasmcast threshold` chose for this precision."""
    precision: str = ""
    """Precision of the bundle that the engines run."""

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
    verify: bool = True,
) -> OpenedModel:
    """Compile the streaming pair of a bundle for this machine.

    Args:
        bundle: folder that `gasmcast export` wrote.
        engine: backend: `auto`, `tensorrt`, `openvino` or `onnxruntime`.
        precision: `auto` for the fastest one on that backend, or a precision of the bundle.
        threads: CPU threads; None: all cores.
        verify: compare the checksum of every file.

    Raises:
        UsageError: not a bundle, altered, without that precision, or without streaming graphs.
        MachineError: the backend cannot be used on this machine.
    """
    backend, why = choose_backend(engine)
    opened = Bundle.open(bundle, verify)
    chosen = opened.best_precision(backend) if precision == "auto" else precision
    measured = opened.measured(chosen)

    # A function, because a stage that hangs in an engine needs new ones.
    def compile_pair() -> Model:
        return Model(
            encoder=opened.engine("encoder", chosen, backend, threads),
            head=opened.engine("head", chosen, backend, threads),
            spec=opened.manifest.spec,
            labels=opened.labels,
            temperature=measured.temperature,
            no_action=measured.no_action,
            reopen=compile_pair,
            alarms=measured.alarms,
            precision=chosen,
        )

    model = compile_pair()
    mismatch = _mismatch(model)
    if mismatch:
        raise UsageError(f"{bundle}: {mismatch}.", "Export the bundle again.")
    reason = ""
    if precision == "auto":
        reason = f", {opened.precision_reason(chosen, backend)},"
    return OpenedModel(model, f"{chosen}{reason} by {model.encoder.describe()} ({why})")


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
