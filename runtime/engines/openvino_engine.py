"""Execution of a network that OpenVINO compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["OpenVinoEngine", "last_line"]


class OpenVinoEngine:
    """A network that OpenVINO compiled for one row; a batch is computed row by row.

    Args:
        compiled: the compiled model.
        outputs: output names of the file in order. The compiled model may list the names of nodes
            that were fused into an output, in any order.
        version: of OpenVINO.
        device: name of the processor.
        stored_fp16: the file contains FP16, which is computed in FP32.
    """

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401 - the package is untyped
        outputs: list[str],
        version: str,
        device: str,
        *,
        stored_fp16: bool = False,
    ) -> None:
        self.inputs = {port.get_any_name(): _spec(port) for port in compiled.inputs}
        self.outputs = {
            name: _spec(port) for name, port in zip(outputs, compiled.outputs, strict=True)
        }

        # One request per row that is computed at the same time; each has memory of its own.
        self.rows_at_once: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        """Rows of a batch that are computed at the same time."""
        self._requests = [compiled.create_infer_request() for _ in range(self.rows_at_once)]
        self._lock = Lock()

        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        rows = f", {self.rows_at_once} rows at once" if self.rows_at_once > 1 else ""
        rest = ", the rest in BF16" if hint == "bf16" else ""
        widened = "; its FP16 computed in FP32" if stored_fp16 else ""
        self._line = f"openvino {version} on {device}, {threads} threads{rows}{rest}{widened}"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: OpenVINO failed.
        """
        batch = check_feeds(self.inputs, feeds)
        contiguous = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        results = {
            name: np.empty([batch if size is None else size for size in spec.shape], np.float32)
            for name, spec in self.outputs.items()
        }
        with self._lock:
            for first in range(0, batch, self.rows_at_once):
                self._run_rows(
                    contiguous, results, range(first, min(first + self.rows_at_once, batch))
                )
        return results

    def _run_rows(
        self,
        feeds: Mapping[str, NDArray[np.generic]],
        results: Mapping[str, NDArray[np.float32]],
        rows: range,
    ) -> None:
        """Compute some rows at the same time, one on each request; write them to `results`."""
        running = []
        try:
            with ExitStack() as waits:
                for row, request in zip(rows, self._requests, strict=False):
                    # Inputs are shared without a copy.
                    feed = {name: array[row : row + 1] for name, array in feeds.items()}
                    request.start_async(feed, share_inputs=True)
                    running.append((row, request))
                    # Also after an error: a request that runs on reads the caller's arrays.
                    waits.callback(request.wait)
        except (RuntimeError, MemoryError) as error:
            raise_if_shortage(error, "OpenVINO failed")
            raise MachineError(
                f"OpenVINO failed ({last_line(error)}).", "Try --engine onnxruntime."
            ) from None

        for row, request in running:
            # Copied, because the request's next run overwrites its memory.
            for name, tensor in zip(results, request.output_tensors, strict=True):
                results[name][row] = tensor.data[0]

    def times_ms(self) -> Counter[str]:
        """Return milliseconds of the last run by kind of layer and number type.

        The network must be compiled with `PERF_COUNT`.
        """
        times: Counter[str] = Counter()
        for node in self._requests[0].profiling_info:
            # `exec_type` ends in the number type, as in `brgemm_avx512_I8`.
            number_type = node.exec_type.rpartition("_")[2]
            times[f"{node.node_type} {number_type}"] += node.real_time.total_seconds() * 1000.0
        return times

    def describe(self) -> str:
        """Return one line: backend, version, device, threads."""
        return self._line


def _spec(port: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    # `run` divides any batch into rows.
    shape = (None, *(int(size.get_length()) for size in list(port.get_partial_shape())[1:]))
    return TensorSpec(shape, np.dtype(port.get_element_type().to_dtype()))


def last_line(error: Exception) -> str:
    """Return the last sentence of an OpenVINO message; source positions come before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
