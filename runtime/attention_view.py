"""Show where the model looks, for the cameras that somebody is looking at.

The attention twins of a bundle run only when maps are requested, and once for each window. A camera
that nobody watches pays one look-up of its name per decision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.attention_grids import (
    graph_grid,
    layers_of,
    patches_heard,
    read_out_grids,
    segments_heard,
    to_json,
)
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.engines import Engine

__all__ = ["AttentionView"]

_WATCH_S = 10.0
"""Time after the last request for which a camera's windows are still kept."""
_MAX_WATCHED = 4
"""Cameras whose windows are kept at once; each is copied at every decision."""
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Window:
    """Last decided window of a watched camera."""

    pair: NDArray[np.uint8]
    """`(2, F, H, W, 3)` RGB: the last segment and its predecessor."""
    features: dict[str, NDArray[np.float32]]
    """`semantic (1, S, L, f, P, D)` and `motion (1, S, L, C, D)`."""
    span_s: tuple[float, float]
    outputs: dict[str, tuple[dict[str, Any], float]] = field(default_factory=dict)
    """Outputs of the twins that ran on this window, with their time in milliseconds."""


@dataclass
class _Watched:
    """A camera that somebody is looking at."""

    until_s: float
    window: _Window | None = None


class AttentionView:
    """Attention maps of the last decided window of a camera, computed on request.

    `offer` is called by the head's thread after every decision, `answer` by the threads that serve
    viewers. A camera is watched for some seconds after the last request; of too many cameras, the
    one whose last request is the oldest is watched no longer.

    Args:
        bundle: a bundle with attention twins (`gasmcast export --attention`).
        backend: backend that runs the twins; on a CPU, because a TensorRT engine of a twin would
            take minutes to build and compete with the cameras.
        threads: CPU threads of the twins; 1 leaves the machine to the cameras.
        clock: returns monotonic seconds.

    Raises:
        UsageError: the bundle has no attention twins.

    Example::

        view = AttentionView(Bundle.open("model.gasm"))
        session = Session(model, config, sinks, on_window=view.offer)
        view.answer("door", patch=37)["read_out"]["semantic"][-1]
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "openvino",
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not bundle.has_attention:
            raise UsageError(
                f"{bundle.path} has no attention graphs.",
                "Export the checkpoint again with --attention.",
            )
        self._bundle, self._backend, self._threads = bundle, backend, threads
        self._clock = clock
        self._engines: dict[str, Engine] = {}

        # Guards what is watched and kept; the engines have a lock of their own.
        self._arrived = threading.Condition()
        self._running = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def offer(self, camera: str, segment: Segment, features: Arrays) -> None:
        """Keep a window that was just decided, if its camera is being watched.

        Args:
            camera: name of the camera.
            segment: the last segment of the window.
            features: `semantic (1, S, L, f, P, D)` and `motion (1, S, L, C, D)`; may be views that
                the caller overwrites later.
        """
        if camera not in self._watched:
            return
        spec = self._bundle.manifest.spec
        with self._arrived:
            # Nobody has asked for a while: stop copying, and give the memory back.
            self._drop_unwatched()
            watched = self._watched.get(camera)
            if watched is None:
                return

            copies = {name: np.array(value) for name, value in features.items()}
            span_s = (round(segment.end_s - spec.window_s, 6), round(segment.end_s, 6))
            watched.window = _Window(segment.pair, copies, span_s)
            self._arrived.notify_all()

    def answer(
        self,
        camera: str,
        *,
        patch: int | None = None,
        layer: int | None = None,
        timeout_s: float = 5.0,
    ) -> dict[str, Any]:
        """Return the maps of the camera's last decided window as plain data.

        Every grid is `{"rows", "cols", "values"}`, values row by row, over the square of the frame
        that the model sees (`fit` of the clip spec: the center, or the whole frame squashed). Keys:

        - `camera`, `window_s` (start and end in seconds of the source), `layer`, `layers`, `fit`.
        - `read_out`: read-out -> one grid per semantic frame or per segment, in order of time.
        - `segments_heard`: one grid per segment: the share that each patch of the last frame gives
          to it (semantic <- motion); null without this direction.
        - `patches_heard`: one grid per segment: the patches that it listens to (motion <-
          semantic); null without this direction.
        - `patch`: null, or `index` and `listens_to`, one grid per layer for the last frame.
        - `probabilities`: class probabilities of the window before smoothing, in label order.
        - `cost_ms`: time of the twins, `head` and, for a patch, `encoder`.

        Args:
            camera: name of the camera.
            patch: patch of the last frame, counted row by row, whose graph is wanted.
            layer: fusion layer of the cross-attention maps; the last one by default.
            timeout_s: longest wait for the first window of a camera that was not watched before.

        Raises:
            UsageError: there is no such patch or layer.
            MachineError: no window was decided in time, or others ask for too many cameras.
        """
        # Wrong requests must not switch the copying on.
        files = self._bundle.manifest.files
        layer = self._check_layer(layer)
        graphs = files[self._bundle.file("encoder_attention", "fp32")].maps or {}
        if patch is not None:
            self._check_patch(graphs, patch)

        window = self._wait(camera, timeout_s)
        with self._running:
            head, head_ms = self._run("head_attention", window, window.features)
            maps = {name: value[0] for name, value in head.items()}
            cost_ms = {"head": head_ms}

            # One segment is encoded again, and only for a clicked patch.
            if patch is not None:
                encoded, cost_ms["encoder"] = self._run(
                    "encoder_attention", window, {"segments": window.pair[None]}
                )
                maps |= {name: encoded[name][0] for name in graphs}

        return {
            "camera": camera,
            "window_s": list(window.span_s),
            "layer": layer,
            "layers": int(self._bundle.manifest.model.get("layers", 0)),
            "fit": self._bundle.manifest.spec.fit,
            **_grids(maps, layer, patch),
            "probabilities": self._probabilities(maps["logits"]),
            "cost_ms": cost_ms,
        }

    def _wait(self, camera: str, timeout_s: float) -> _Window:
        """Watch a camera and return its last window, once there is one."""
        with self._arrived:
            watched = self._watched.setdefault(camera, _Watched(0.0))
            watched.until_s = self._clock() + _WATCH_S + timeout_s
            self._drop_unwatched()
            self._arrived.wait_for(
                lambda: watched.window is not None or self._watched.get(camera) is not watched,
                timeout_s,
            )
            dropped = self._watched.get(camera) is not watched
        if watched.window is not None:
            return watched.window
        if dropped:
            raise MachineError(
                f"The maps of {camera} are not computed: other viewers ask for too many cameras.",
                f"{_MAX_WATCHED} cameras at once are the limit. Ask again later.",
            )
        raise MachineError(
            f"{camera} has not decided a window in {timeout_s:.0f} s.",
            "Wait until the camera is live, and ask again.",
        )

    def _drop_unwatched(self) -> None:
        """Drop the cameras nobody looks at, and the oldest of too many; the lock is held."""
        now, before = self._clock(), len(self._watched)
        for name in [name for name, watched in self._watched.items() if now > watched.until_s]:
            del self._watched[name]
        while len(self._watched) > _MAX_WATCHED:
            del self._watched[min(self._watched, key=lambda name: self._watched[name].until_s)]
        if len(self._watched) < before:
            self._arrived.notify_all()

    def _run(
        self, graph: str, window: _Window, feeds: Arrays | dict[str, Any]
    ) -> tuple[dict[str, Any], float]:
        """Run a twin, once for each window and compiled on its first use.

        Returns:
            Its outputs, and the time that it took in milliseconds.
        """
        if graph in window.outputs:
            return window.outputs[graph]
        if graph not in self._engines:
            twin: Any = graph
            self._engines[graph] = self._bundle.engine(twin, "fp32", self._backend, self._threads)
        engine = self._engines[graph]
        started = time.perf_counter()
        outputs = engine.run({name: feeds[name] for name in engine.inputs})
        window.outputs[graph] = outputs, round(1000 * (time.perf_counter() - started), 2)
        return window.outputs[graph]

    def _probabilities(self, logits: NDArray[np.float32]) -> list[float]:
        scaled = logits.astype(np.float64) / self._bundle.measured("fp32").temperature
        shares = np.exp(scaled - scaled.max())
        return [round(float(share), 5) for share in shares / shares.sum()]

    def _check_layer(self, layer: int | None) -> int:
        layers = int(self._bundle.manifest.model.get("layers", 0))
        chosen = layers - 1 if layer is None else layer
        if not 0 <= chosen < layers:
            raise UsageError(f"There is no layer {layer}.", f"Layers: 0 to {layers - 1}.")
        return chosen

    @staticmethod
    def _check_patch(graphs: Mapping[str, tuple[int, ...]], patch: int) -> None:
        if not graphs:
            raise UsageError(
                "The model has no semantic graph, so a patch listens to no other.",
                "Ask without a patch.",
            )
        patches = next(iter(graphs.values()))[-1]
        if not 0 <= patch < patches:
            raise UsageError(f"There is no patch {patch}.", f"Patches: 0 to {patches - 1}.")


def _grids(maps: Arrays, layer: int, patch: int | None) -> dict[str, Any]:
    """Return the maps as JSON grids."""
    segments, patches = segments_heard(maps, layer), patches_heard(maps, layer)
    listens = None
    if patch is not None:
        graphs = [graph_grid(maps, i, -1, patch) for i in layers_of(maps, "semantic_graph")]
        grids = [to_json(grid) for grid in graphs if grid is not None]
        listens = {"index": patch, "listens_to": grids}

    return {
        "read_out": {
            name: [to_json(grid) for grid in grids] for name, grids in read_out_grids(maps).items()
        },
        # The page shows the newest frame, whose patches these are.
        "segments_heard": None if segments is None else [to_json(grid[-1]) for grid in segments],
        "patches_heard": None if patches is None else [to_json(grid) for grid in patches],
        "patch": listens,
    }
