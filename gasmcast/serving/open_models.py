"""Open bundles as the models that a server offers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gasmcast.errors import UsageError
from gasmcast.runtime.capacity import fit
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import open_model
from gasmcast.serving.sequence_model import SequenceModel
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.served_models import ClipModel, ServedModel

__all__ = ["OpenedModels", "model_name", "open_models"]

# A server is for several clients, whose number is not known when it starts.
_CLIENTS = 2


class OpenedModels(NamedTuple):
    """Models by name, engines by bundle, and a line about each bundle."""

    models: dict[str, ServedModel]
    engines: dict[str, ServedEngines]
    descriptions: list[str]


def model_name(bundle: Path) -> str:
    """Return the name of a bundle in addresses: that of its folder, with safe letters only."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", bundle.absolute().stem).strip("-")[:64] or "model"


def open_models(
    bundles: Sequence[Path],
    config: LiveConfig,
    *,
    engine: str,
    precision: str,
    threads: int,
    max_batch: int,
    delay_s: float,
    max_sequences: int,
    idle_s: float,
) -> OpenedModels:
    """Compile bundles for this machine; each is a model of clips and a streaming model.

    Args:
        bundles: folders that `gasmcast export` wrote.
        config: settings of decisions and events of the streaming models.
        engine: backend, or `auto`.
        precision: a precision of the bundles, or `auto`.
        threads: CPU threads of each bundle's engines.
        max_batch: segments or windows in one batch, and clips or segments in one request.
        delay_s: how long a segment waits for others.
        max_sequences: sequences of each streaming model.
        idle_s: seconds after which an unused sequence is forgotten.

    Raises:
        UsageError: a bundle cannot be opened, or two have the same name.
        MachineError: the engine cannot be used here.
    """
    opened = OpenedModels({}, {}, [])
    for bundle in bundles:
        name = model_name(bundle)
        stream = f"{name}_stream"
        if name in opened.models or stream in opened.models:
            raise UsageError(
                f"There are two models called {name}.", "Give the folder of one another name."
            )

        first = open_model(bundle, engine, precision, threads, tempo=config.tempo)
        model, description, _ = fit(first, config, _CLIENTS)
        engines = ServedEngines(model, max_batch=max_batch, delay_s=delay_s, name=name)
        opened.engines[name] = engines
        opened.models[name] = ClipModel(name, engines, max_batch)
        opened.models[stream] = SequenceModel(
            stream,
            engines,
            config,
            max_sequences=max_sequences,
            max_segments=max(max_batch, model.spec.segments),
            idle_s=idle_s,
        )
        opened.descriptions.append(f"{name}: {description}")
    return opened
