"""Execution of a network that OpenVINO compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds, join_batches
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["OpenVinoEngine", "last_line"]


class OpenVinoEngine:
    """A network compiled by OpenVINO.

    Args:
        compiled: the compiled model.
        outputs: output names of the file in order. The compiled model may list the names of nodes
            that were fused into an output, in any order.
        version: of OpenVINO.
        device: name of the processor.
        single_row: compiled for a batch of 1; larger batches run row by row.
        stored_fp16: the file contains FP16, which is computed in FP32.
    """

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401 - the package is untyped
        outputs: list[str],
        version: str,
        device: str,
        *,
        single_row: bool = False,
        stored_fp16: bool = False,
    ) -> None:
        self.inputs = {port.get_any_name(): _spec(port) for port in compiled.inputs}
        self.outputs = {
            name: _spec(port) for name, port in zip(outputs, compiled.outputs, strict=True)
        }

        # One request, as its outputs are read where it wrote them.
        self._request = compiled.create_infer_request()
        self._lock = Lock()
        self._single_row = single_row
        # Callers see a free batch; `run` divides it into rows.
        if single_row:
            self.inputs, self.outputs = _free_batch(self.inputs), _free_batch(self.outputs)

        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        rest = ", the rest in BF16" if hint == "bf16" else ""
        widened = "; its FP16 computed in FP32" if stored_fp16 else ""
        self._line = f"openvino {version} on {device}, {threads} threads{rest}{widened}"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: OpenVINO failed.
        """
        batch = check_feeds(self.inputs, feeds)
        if not self._single_row or batch == 1:
            return self._run(feeds)

        rows = [
            self._run({name: array[row : row + 1] for name, array in feeds.items()})
            for row in range(batch)
        ]
        return join_batches(rows)

    def _run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        # Inputs are shared without a copy; outputs are the request's own memory and are copied.
        with self._lock:
            try:
                results = self._request.infer(
                    {name: np.ascontiguousarray(array) for name, array in feeds.items()},
                    share_inputs=True,
                    share_outputs=True,
                )
            except (RuntimeError, MemoryError) as error:
                raise_if_shortage(error, "OpenVINO failed")
                raise MachineError(
                    f"OpenVINO failed ({last_line(error)}).", "Try --engine onnxruntime."
                ) from None
            return {name: np.array(results[name], dtype=np.float32) for name in self.outputs}

    def times_ms(self) -> Counter[str]:
        """Return milliseconds of the last run by kind of layer and number type.

        The network must be compiled with `PERF_COUNT`.
        """
        times: Counter[str] = Counter()
        for node in self._request.profiling_info:
            # `exec_type` ends in the number type, as in `brgemm_avx512_I8`.
            number_type = node.exec_type.rpartition("_")[2]
            times[f"{node.node_type} {number_type}"] += node.real_time.total_seconds() * 1000.0
        return times

    def describe(self) -> str:
        """Return one line: backend, version, device, threads."""
        return self._line


def _spec(port: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    # Free axes have no length.
    shape = tuple(int(d.get_length()) if d.is_static else None for d in port.get_partial_shape())
    return TensorSpec(shape, np.dtype(port.get_element_type().to_dtype()))


def _free_batch(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: TensorSpec((None, *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}


def last_line(error: Exception) -> str:
    """Return the last sentence of an OpenVINO message; source positions come before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
