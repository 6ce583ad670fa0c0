"""The key of a TensorRT engine: everything on which a build depends."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gasmcast.errors import UsageError
from gasmcast.runtime.engines.graph_files import graph_sha256, has_external_weights
from gasmcast.runtime.engines.trt.cuda import CudaDevice

__all__ = ["EngineKey", "engine_key", "max_batch_of", "precision_of", "profiles_for"]

RECIPE = 1
"""Part of the key: increment it when the builder builds something else from the same request."""


@dataclass(frozen=True)
class EngineKey:
    """Everything on which an engine depends; a change of any field is another engine."""

    graph: str
    graph_sha256: str
    backend: str
    version: str
    device: str
    sm: str
    precision: str
    profiles: str
    settings: str

    @property
    def stem(self) -> str:
        """File name without suffix: the graph's name, and a digest of every field."""
        # Device names and profiles contain letters that file names cannot.
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.graph}-{digest[:20]}"


def engine_key(
    onnx: Path, device: CudaDevice, version: str, cameras: int, sha256: str | None = None
) -> EngineKey:
    """Return the key of the engine that this machine would build from a graph.

    Args:
        onnx: the graph.
        device: the device that is to run it.
        version: of TensorRT.
        cameras: largest batch.
        sha256: checksum of the file, if already known. External weights are hashed in any case.
    """
    # The known checksum is of the ONNX file alone.
    known = sha256 if not has_external_weights(onnx) else None
    return EngineKey(
        graph=onnx.name.split(".")[0],
        graph_sha256=known or graph_sha256(onnx),
        backend="tensorrt",
        version=version,
        device=device.name,
        sm=device.sm,
        precision=precision_of(onnx),
        profiles=" ".join("/".join(map(str, profile)) for profile in profiles_for(cameras)),
        settings=f"recipe {RECIPE}, no TF32",
    )


def profiles_for(cameras: int) -> tuple[tuple[int, int, int], ...]:
    """Return batch profiles (least, best, most) that cover batches of 1 to `cameras`.

    A batch of 1 is the common case and has a profile, and so kernels, of its own.

    Raises:
        UsageError: less than one camera.
    """
    if cameras < 1:
        raise UsageError(f"--cameras {cameras} is less than 1.")
    return ((1, 1, 1),) if cameras == 1 else ((1, 1, 1), (2, cameras, cameras))


def max_batch_of(key: EngineKey) -> int:
    """Return the largest batch of an engine's profiles."""
    return int(key.profiles.split("/")[-1])


def precision_of(onnx: Path) -> str:
    """Return the precision in a file name: `encoder.int8_fp16.onnx` is int8_fp16, else fp32."""
    # FP32 is the format without a precision in its name.
    parts = onnx.name.split(".")
    return parts[1] if len(parts) == 3 else "fp32"
