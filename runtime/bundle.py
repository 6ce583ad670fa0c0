"""Exported bundle, opened for inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.manifest import TWINS, Graph, Manifest, Measured, read_manifest
from gasmcast.precision import in_bf16, stored_as
from gasmcast.runtime.engines import Engine, choose_backend, missing_bf16, open_engine

__all__ = ["Bundle", "fastest_on_cpu", "reason_on_cpu"]

# Best first, used where nothing was measured.
_CPU = ("int8_bf16", "int8", "bf16", "fp32")
_GPU = ("int8_fp16", "fp16", "fp32")
# A graph that a precision leaves unchanged is taken from the next precision in its list.
_FALLBACK = {
    "int8": ("int8", "fp32"),
    "int8_fp16": ("int8_fp16", "fp16", "fp32"),
    "fp16": ("fp16", "fp32"),
}


def fastest_on_cpu(ms: Mapping[str, float | None]) -> str | None:
    """Return the precision to run on a CPU; None if none is for CPUs.

    BF16 needs a measurement next to all others: nothing else shows that it is worth its rounding.

    Args:
        ms: by precision, the measured milliseconds; None where it was not measured.
    """
    times_ms = {}
    for precision in _CPU:
        taken_ms = ms.get(precision)
        if taken_ms is not None:
            times_ms[precision] = taken_ms

    # One precision without a time makes the others' times useless for a choice: take the default.
    without_bf16 = [p for p in _CPU if p in ms and not in_bf16(p)]
    if not set(without_bf16) <= times_ms.keys():
        return without_bf16[0]
    return min(times_ms, key=times_ms.__getitem__, default=None)


def reason_on_cpu(ms: Mapping[str, float | None], taken: str) -> str:
    """Return why a CPU runs the precision that `fastest_on_cpu` chose, as a phrase.

    Args:
        ms: as for `fastest_on_cpu`.
        taken: the precision that was chosen.
    """
    available = [precision for precision in _CPU if precision in ms]
    if len(available) == 1:
        return "the only one for a CPU in the bundle"
    if ms.get(taken) is None:
        return "the first in the usual order, because not all were timed"

    times = []
    for precision in available:
        taken_ms = ms[precision]
        if taken_ms is not None:
            times.append(f"{precision} {taken_ms:.1f} ms")
    return f"the fastest when it was exported ({', '.join(times)} a decision)"


@dataclass(frozen=True)
class Bundle:
    """Folder that `gasmcast export` wrote, with its manifest.

    Example::

        bundle = Bundle.open("model.gasm")
        precision = bundle.best_precision("openvino")
        encoder = bundle.engine("encoder", precision, "openvino")
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Bundle:
        """Read the manifest of a bundle.

        Args:
            path: the folder.
            verify: compare the checksum of every file.

        Raises:
            UsageError: not a bundle, of another format version, or altered.
        """
        folder = Path(path)
        return cls(folder, read_manifest(folder, verify))

    @property
    def labels(self) -> Labels:
        """Classes in the order of the logits."""
        return Labels(self.manifest.labels)

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions in which the encoder or head can run.

        Those are the precisions of files, and BF16 ones that were measured on such files.
        """
        stored = set()
        for file in self.manifest.files.values():
            if file.graph in ("encoder", "head") and file.precision:
                stored.add(file.precision)

        # A BF16 precision has no files of its own: it runs on those of another one.
        computed = set()
        for precision in self.manifest.precisions:
            if in_bf16(precision) and stored_as(precision) in stored:
                computed.add(precision)
        return tuple(sorted(stored | computed))

    @property
    def has_attention(self) -> bool:
        """Return whether it has the attention twins of encoder and head."""
        return set(TWINS.values()) <= {file.graph for file in self.manifest.files.values()}

    def best_precision(self, backend: str = "auto") -> str:
        """Return the fastest precision of the bundle for a backend.

        On a CPU that is decided by the times that the export measured, where it did.

        Raises:
            UsageError: the bundle has no streaming graphs for it.
        """
        name, _ = choose_backend(backend)
        available = self.precisions()

        # A BF16 precision cannot be opened on a machine without BF16.
        usable = [p for p in available if not (in_bf16(p) and missing_bf16(name))]
        if name == "tensorrt":
            best = next((p for p in _GPU if p in usable), None)
        else:
            best = fastest_on_cpu({p: self.measured(p).ms for p in usable})

        if best is not None:
            return best
        raise UsageError(
            f"{self.path} has no streaming graphs that {name} can run.",
            f"It has {', '.join(available) or 'none'}: export it again.",
        )

    def precision_reason(self, precision: str, backend: str) -> str:
        """Return why `best_precision` chose a precision, as a phrase for logs."""
        if backend == "tensorrt":
            return "the first in the order for GPUs"
        usable = [p for p in self.precisions() if not (in_bf16(p) and missing_bf16(backend))]
        return reason_on_cpu({p: self.measured(p).ms for p in usable}, precision)

    def measured(self, precision: str) -> Measured:
        """Return the manifest's figures for a precision; neutral ones if it has none."""
        neutral = Measured(clips=0, temperature=1.0, no_action=None)
        return self.manifest.precisions.get(precision) or neutral

    def file(self, graph: Graph, precision: str) -> str:
        """Return the file with `graph` in `precision`, or in the precision that it falls back to.

        Raises:
            UsageError: there is none.
        """
        available = self.precisions()
        if precision != "fp32" and precision not in available and graph in TWINS:
            raise UsageError(
                f"The bundle has no {graph} in {precision}.",
                f"It has {', '.join(available) or 'none'}: "
                f"export again with --precision {precision}.",
            )

        # A precision that leaves this graph unchanged has no file of it.
        stored = stored_as(precision)
        for candidate in _FALLBACK.get(stored, (stored,)):
            for name, entry in self.manifest.files.items():
                if entry.graph == graph and entry.precision == candidate:
                    return name
        return self.manifest.file(graph, precision)

    def engine(
        self,
        graph: Graph,
        precision: str,
        backend: str = "auto",
        threads: int | None = None,
        *,
        throughput: bool = False,
    ) -> Engine:
        """Compile a graph of the bundle for this machine.

        Args:
            graph: `complete`, `encoder` or `head`, or an attention twin (`fp32` only).
            precision: a precision of the bundle.
            backend: `auto`, `tensorrt`, `openvino` or `onnxruntime`.
            threads: CPU threads; None: all cores.
            throughput: compute several rows of a batch at the same time.

        Raises:
            UsageError: the bundle has no such graph or precision, a file is not the one that was
                exported, or its inputs and outputs are not those of the manifest.
            MachineError: the backend cannot be used on this machine, or lacks the BF16 that the
                precision needs.
        """
        name = self.file(graph, precision)
        sha256, weights_sha256 = self.checksums(name)
        engine = open_engine(
            self.path / name,
            backend,
            threads,
            sha256,
            bf16=in_bf16(precision),
            weights_sha256=weights_sha256,
            throughput=throughput,
        )
        self._check_ports(name, graph, engine)
        return engine

    def checksums(self, name: str) -> tuple[str, str | None]:
        """Return the manifest's checksums of a graph and of its external weights, if it has some.

        Args:
            name: file of the graph.
        """
        files = self.manifest.files
        weights = files.get(f"{name}.data")
        return files[name].sha256, weights.sha256 if weights else None

    def _check_ports(self, name: str, graph: Graph, engine: Engine) -> None:
        """Refuse a network whose inputs and outputs are not those of the manifest.

        Raises:
            UsageError: it is another graph, or of another clip spec or number of classes.
        """
        spec = self.manifest.spec
        pair = ("segments", spec.pair_shape)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "encoder": pair,
            "encoder_attention": pair,
            "complete": ("clip", spec.clip_shape),
        }
        problem = ""
        if graph in shapes:
            port, shape = shapes[graph]
            given = engine.inputs.get(port)
            if given is None or given.shape[1:] != shape:
                problem = f"takes no {port!r} of shape (B, {_sizes(shape)})"

        # A head of another label set would give wrong names without any error.
        if graph not in ("encoder", "encoder_attention"):
            logits = engine.outputs.get("logits")
            classes = len(self.manifest.labels)
            if logits is None:
                problem = problem or "gives no logits"
            elif logits.shape[-1] != classes:
                problem = problem or (
                    f"gives {logits.shape[-1]} logits, and there are {classes} labels"
                )
        for name_of_map, sides in (self.manifest.files[name].maps or {}).items():
            given = engine.outputs.get(name_of_map)
            if given is None or given.shape[1:] != sides:
                problem = problem or f"gives no {name_of_map!r} of shape (B, {_sizes(sides)})"
        if problem:
            raise UsageError(f"{self.path / name} {problem}.", "Export the bundle again.")


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
