"""Compiled networks behind one protocol.

Each backend is a module here with `missing() -> str` (why it cannot be used on this machine; empty
when it can) and `compile_graph(path, threads, sha256, *, weights_sha256) -> Engine`.
"""

from gasmcast.runtime.engines.choose import choose_backend, missing_bf16, open_engine
from gasmcast.runtime.engines.protocol import (
    Engine,
    ResidentEngine,
    TensorSpec,
    check_feeds,
    join_batches,
)

__all__ = [
    "Engine",
    "ResidentEngine",
    "TensorSpec",
    "check_feeds",
    "choose_backend",
    "join_batches",
    "missing_bf16",
    "open_engine",
]
