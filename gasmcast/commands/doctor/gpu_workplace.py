"""What the stages of the GPU proof share: folder, sizes, device, and their figures so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gasmcast.files import write_atomic

__all__ = ["MissingError", "StageFailedError", "Workplace"]


class MissingError(Exception):
    """The stage needs something that this machine does not have; the text says what."""


class StageFailedError(Exception):
    """The stage ran and its result is wrong; the text says how."""


@dataclass
class Workplace:
    """Folder and sizes of one stage."""

    folder: Path
    """Folder that all stages share."""
    name: str
    rehearse: bool
    """Tiny sizes, CPU, OpenVINO in the place of TensorRT."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def preset(self) -> str:
        """Preset whose model is measured."""
        return "demo" if self.rehearse else "ssv2"

    @property
    def device(self) -> str:
        """Torch device.

        Raises:
            MissingError: PyTorch or its CUDA device is missing.
        """
        try:
            import torch
        except ImportError:
            raise MissingError("PyTorch is not installed") from None
        if self.rehearse:
            return "cpu"
        if not torch.cuda.is_available():
            raise MissingError("PyTorch sees no CUDA device")
        return "cuda"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the model and of a short training run."""
        updates = 6 if self.rehearse else 100
        return {
            "model.semantic_weights": "random",
            "model.motion_weights": "random",
            "train.epochs": 1,
            "train.min_updates": updates,
            "train.precision": "fp32" if self.rehearse else "bf16",
            "train.workers": 0 if self.rehearse else 8,
        }

    @property
    def data(self) -> Path:
        """Generated clips, written by the first stage that needs them."""
        from gasmcast.data.synthetic.clips import make_set

        folder = self.folder / "data"
        if not folder.exists():
            make_set(folder, 75 if self.rehearse else 240, 0)
        return folder

    @property
    def bundle(self) -> Path:
        """Bundle of random weights in FP32 and INT8.

        Raises:
            MissingError: a package for exports is missing, or the stage that makes it has failed.
        """
        folder = self.folder / "model.gasm"
        if not (folder / "manifest.json").is_file():
            raise MissingError("there is no bundle: the stage `bundle` has not made one")
        return folder

    def report(self, **figures: object) -> None:
        """Add figures and write them, so that they survive whatever ends the stage."""
        self.figures.update(figures)
        self.write()

    def write(self, **ending: str) -> None:
        """Write the figures, and how the stage ended."""
        stem = self.name.replace(" ", "_")
        text = json.dumps({**ending, "figures": self.figures}, indent=1, default=str)
        write_atomic(self.folder / f"{stem}.json", text)
