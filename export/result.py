"""Result of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasmcast.export.checks.gate_verdict import GateVerdict
from gasmcast.manifest import Manifest

if TYPE_CHECKING:
    from gasmcast.export.tensorrt.torch_tensorrt import TorchEngine
    from gasmcast.runtime.engine_build import DeviceEngine

__all__ = ["ExportResult"]


@dataclass(frozen=True)
class ExportResult:
    """Bundle that was written, and what is not in it.

    Truthy when every precision could be made, and none failed the gate.
    """

    path: Path
    manifest: Manifest
    verdicts: tuple[GateVerdict, ...]
    """Verdicts of the accuracy gate, FP32 first; empty without held-out clips."""
    not_judged: Mapping[str, str]
    """Requested precisions that could not be judged, each with its reason; not in the bundle."""
    report: dict[str, Any]
    """Content of the bundle's `report.json`."""
    not_made: Mapping[str, str] = field(default_factory=dict)
    """Requested precisions whose graphs could not be made, each with its reason."""
    notes: tuple[str, ...] = ()
    """Sentences to know before relying on the bundle: chance, few clips, the choice of `live`."""
    engines: tuple[DeviceEngine | TorchEngine, ...] = ()
    """Engines that were built for this device, if the export was asked to."""

    def __bool__(self) -> bool:
        return not self.failed and not self.not_made

    @property
    def failed(self) -> tuple[GateVerdict, ...]:
        """Verdicts of precisions that failed the gate; their graphs are not in the bundle."""
        return tuple(v for v in self.verdicts if not v)

    def __str__(self) -> str:
        lines = [str(verdict) for verdict in self.verdicts]
        lines += [f"{name} was not judged: {why}." for name, why in self.not_judged.items()]
        lines += [f"{name} could not be made: {why}." for name, why in self.not_made.items()]
        lines += [f"Note: {note}." for note in self.notes]

        # The size is that of the files in the manifest, not of the folder.
        files = self.manifest.files
        megabytes = sum(entry.size for entry in files.values()) / 1e6
        lines.append(
            f"Wrote {self.path}: {len(files)} files, {megabytes:.1f} MB; "
            "report.html in it shows what was measured."
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain data: the bundle's path, the verdicts, what is missing, and notes."""
        return {
            "bundle": str(self.path),
            "passed": bool(self),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "not_judged": dict(self.not_judged),
            "not_made": dict(self.not_made),
            "notes": list(self.notes),
            "engines": [engine.to_json() for engine in self.engines],
        }
