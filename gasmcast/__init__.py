"""GASM-CAST: video action recognition from training to a camera at the edge.

`load` and `live` work in the base install, and `classify` with the extra `archive`. `train`,
`enough`, `evaluate` and `export` need the packages of the extra `export`. Everything is imported on
first use, so `import gasmcast` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gasmcast.api.archives import ArchiveResult, classify
    from gasmcast.api.enough import EnoughResult, enough
    from gasmcast.api.evaluate import EvaluationResult, evaluate
    from gasmcast.api.export import export
    from gasmcast.api.live_events import live
    from gasmcast.api.recognizer import FrameStream, Recognition, Recognizer, load
    from gasmcast.api.train import TrainResult, train
    from gasmcast.errors import (
        GasmcastError,
        GateError,
        MachineError,
        SourceError,
        UsageError,
    )
    from gasmcast.export.result import ExportResult
    from gasmcast.runtime.records import Decision, Event

__version__ = "0.1.0"

# Public name -> module that defines it.
_PUBLIC = {
    "ArchiveResult": "gasmcast.api.archives",
    "Decision": "gasmcast.runtime.records",
    "EnoughResult": "gasmcast.api.enough",
    "EvaluationResult": "gasmcast.api.evaluate",
    "Event": "gasmcast.runtime.records",
    "ExportResult": "gasmcast.export.result",
    "FrameStream": "gasmcast.api.recognizer",
    "GasmcastError": "gasmcast.errors",
    "GateError": "gasmcast.errors",
    "MachineError": "gasmcast.errors",
    "Recognition": "gasmcast.api.recognizer",
    "Recognizer": "gasmcast.api.recognizer",
    "SourceError": "gasmcast.errors",
    "TrainResult": "gasmcast.api.train",
    "UsageError": "gasmcast.errors",
    "classify": "gasmcast.api.archives",
    "enough": "gasmcast.api.enough",
    "evaluate": "gasmcast.api.evaluate",
    "live": "gasmcast.api.live_events",
    "load": "gasmcast.api.recognizer",
    "train": "gasmcast.api.train",
}

__all__ = [
    "ArchiveResult",
    "Decision",
    "EnoughResult",
    "EvaluationResult",
    "Event",
    "ExportResult",
    "FrameStream",
    "GasmcastError",
    "GateError",
    "MachineError",
    "Recognition",
    "Recognizer",
    "SourceError",
    "TrainResult",
    "UsageError",
    "__version__",
    "classify",
    "enough",
    "evaluate",
    "export",
    "live",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    """Import a public object on first use (PEP 562)."""
    if name == "export":  # a package that is called like a function
        return importlib.import_module("gasmcast.export")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gasmcast' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
