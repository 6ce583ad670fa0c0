"""Compare attention twins with their graphs: features and logits must be the same to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GateError
from gasmcast.export.checks.reference_engines import open_reference
from gasmcast.export.checks.run_clips import encode_clip
from gasmcast.export.graphs.attention_twins import Twin
from gasmcast.manifest import TWINS

__all__ = ["require_same_logits"]


def require_same_logits(
    paths: Mapping[str, Path],
    twins: Sequence[Twin],
    clips: NDArray[np.uint8],
    *,
    threads: int | None = None,
) -> None:
    """Refuse attention twins whose outputs differ from those of their graphs on ONNX Runtime.

    Args:
        paths: FP32 files by component.
        twins: attention twins of encoder and head.
        clips: `(N, 1 + S, F, H, W, 3)` uint8.
        threads: CPU threads; all cores if None.

    Raises:
        GateError: an output differs in a bit, or a map holds a value that is no number.
    """
    twin_of = {twin.graph: twin.path for twin in twins}
    features: list[dict[str, NDArray[np.float32]]] = []
    for component in ("encoder", "head"):
        plain = open_reference(paths[component], threads)
        twin = open_reference(twin_of[TWINS[component]], threads)

        # The head reads what the plain encoder gave, so that each twin answers for itself.
        if component == "encoder":
            for clip in clips:
                features.append(encode_clip(plain.run, clip))
                _require_equal(component, features[-1], encode_clip(twin.run, clip))
        else:
            for window in features:
                _require_equal(component, plain.run(window), twin.run(window))


def _require_equal(
    component: str,
    plain: Mapping[str, NDArray[np.float32]],
    twin: Mapping[str, NDArray[np.float32]],
) -> None:
    for name, values in plain.items():
        if not np.array_equal(values, twin[name]):
            raise GateError(
                f"The attention twin of the {component} gives other {name} than the {component}.",
                "Nothing was written. Export without --attention, and report the configuration.",
            )
    for name in twin.keys() - plain.keys():
        if not np.isfinite(twin[name]).all():
            raise GateError(
                f"The attention output {name} of the {component} is not finite.",
                "Nothing was written. Train with a lower train.lr.",
            )
