"""Profile the networks of a bundle with OpenVINO's counters, and try engine settings in pairs.

    python docs/experiments/engine_profile.py BUNDLE [PRECISION] [--seconds 20]

Prints milliseconds by kind of layer, and the share of products; then the median of encoder and head
under each setting, which take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from gasmcast.precision import in_bf16
from gasmcast.runtime.bench.process import measure_once
from gasmcast.runtime.bench.task import Task
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines.openvino import compile_graph
from gasmcast.runtime.engines.random_feeds import random_feeds
from gasmcast.stopwatch import alternate_ms

PRODUCTS = ("Convolution", "MatMul", "FullyConnected", "ScaledDotProductAttention", "Deconvolution")
SETTINGS: dict[str, Mapping[str, Any]] = {
    "as it is": {},
    "threads pinned": {"ENABLE_CPU_PINNING": True},
    "threads not pinned": {"ENABLE_CPU_PINNING": False},
    "throughput hint, one stream": {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 1},
}


def main() -> None:
    """Print profile and pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("precision", nargs="?", default="int8_bf16")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle, verify=False)

    profile = measure_once(Task("profile", str(bundle.path), arguments.precision))
    for graph in ("encoder", "head"):
        costs = profile[graph]
        total = sum(costs.values())
        products = sum(ms for kind, ms in costs.items() if kind.startswith(PRODUCTS))
        listed = ", ".join(f"{kind} {ms:.1f}" for kind, ms in costs.items())
        print(f"{graph}: {total:.1f} ms, {products / total:.0%} in products: {listed}")

    work: dict[str, Callable[[], object]] = {}
    for graph in ("encoder", "head"):
        name = bundle.file(graph, arguments.precision)
        sha256, weights_sha256 = bundle.checksums(name)
        for setting, properties in SETTINGS.items():
            engine = compile_graph(
                bundle.path / name,
                None,
                sha256,
                properties,
                bf16=in_bf16(arguments.precision),
                cache=False,  # its key does not name the properties
                weights_sha256=weights_sha256,
            )
            feeds = random_feeds(engine.inputs)
            engine.run(feeds)
            work[f"{graph}, {setting}"] = lambda engine=engine, feeds=feeds: engine.run(feeds)
    for name, times in alternate_ms(work, arguments.seconds).items():
        if not name.endswith("_cpu"):
            print(f"{name}: median {median(times):.1f} ms of {len(times)}, least {min(times):.1f}")


if __name__ == "__main__":
    main()
