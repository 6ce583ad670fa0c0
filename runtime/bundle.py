"""An exported bundle, opened for running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.manifest import Graph, Manifest, Measured, read_manifest
from gasmcast.precision import in_bf16, stored_as
from gasmcast.runtime.engines import Engine, choose_backend, missing_bf16, open_engine

__all__ = ["Bundle", "fastest_on_cpu"]

# Best first, where nothing was measured; a graph that a precision leaves as it was is taken from the next one in its list.
_CPU = ("int8_bf16", "int8", "bf16", "fp32")
_GPU = ("int8_fp16", "fp16", "fp32")
_FALLBACK = {
    "int8": ("int8", "fp32"),
    "int8_fp16": ("int8_fp16", "fp16", "fp32"),
    "fp16": ("fp16", "fp32"),
}


def fastest_on_cpu(ms: Mapping[str, float | None]) -> str | None:
    """The precision that a CPU runs, of those in `ms`, which has what each was measured to take; None where none is for CPUs.

    BF16 must have been measured beside all others: nothing else says that it is worth its rounding.
    """
    plain = [p for p in _CPU if p in ms and not in_bf16(p)]
    times = {p: taken for p in _CPU if (taken := ms.get(p)) is not None}
    if not set(plain) <= times.keys():
        return plain[0]
    return min(times, key=times.__getitem__, default=None)


@dataclass(frozen=True)
class Bundle:
    """A directory that `gasmcast export` wrote, with its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Bundle:
        """Read the manifest; with `verify`, compare every file's checksum.

        Raises:
            UsageError: not a bundle, another format version, or altered.
        """
        folder = Path(path)
        return cls(folder, read_manifest(folder, verify))

    @property
    def labels(self) -> Labels:
        """The classes, in the order of the logits."""
        return Labels(self.manifest.labels)

    def precisions(self) -> tuple[str, ...]:
        """The precisions in which an encoder or a head can be run: those of files, and those that were measured on such files."""
        stored = {
            f.precision
            for f in self.manifest.files.values()
            if f.graph in ("encoder", "head") and f.precision
        }
        return tuple(
            sorted(
                stored
                | {p for p in self.manifest.precisions if in_bf16(p) and stored_as(p) in stored}
            )
        )

    def best_precision(self, backend: str = "auto") -> str:
        """The fastest precision of the bundle that suits a backend: on a CPU by what the export measured, where it did.

        Raises:
            UsageError: the bundle has no streaming graphs for it.
        """
        name, _ = choose_backend(backend)
        have = self.precisions()
        able = [p for p in have if not (in_bf16(p) and missing_bf16(name))]
        on_cpu = fastest_on_cpu({p: self.measured(p).ms for p in able})
        best = next((p for p in _GPU if p in able), None) if name == "tensorrt" else on_cpu
        if best is not None:
            return best
        raise UsageError(
            f"{self.path} has no streaming graphs that {name} can run.",
            f"It has {', '.join(have) or 'none'}: export it again.",
        )

    def measured(self, precision: str) -> Measured:
        """What the manifest says of a precision; neutral values where it says nothing."""
        return self.manifest.precisions.get(precision) or Measured(
            clips=0, temperature=1.0, no_action=None
        )

    def file(self, graph: Graph, precision: str) -> str:
        """The file that holds `graph` in `precision`, or in the precision that it falls back to.

        Raises:
            UsageError: there is none.
        """
        have = self.precisions()
        if precision != "fp32" and precision not in have and graph != "complete":
            raise UsageError(
                f"The bundle has no {graph} in {precision}.",
                f"It has {', '.join(have) or 'none'}: export again with --precision {precision}.",
            )
        for candidate in _FALLBACK.get(stored := stored_as(precision), (stored,)):
            for name, entry in self.manifest.files.items():
                if entry.graph == graph and entry.precision == candidate:
                    return name
        return self.manifest.file(graph, precision)

    def engine(
        self, graph: Graph, precision: str, backend: str = "auto", threads: int | None = None
    ) -> Engine:
        """Compile a graph of the bundle for this machine.

        Raises:
            UsageError: the bundle has no such graph or precision.
            MachineError: the backend cannot be used on this machine, or has no BF16 where the precision wants it.
        """
        name = self.file(graph, precision)
        return open_engine(
            self.path / name,
            backend,
            threads,
            self.manifest.files[name].sha256,
            bf16=in_bf16(precision),
        )
