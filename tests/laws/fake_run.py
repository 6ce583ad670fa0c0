"""Training run on synthetic clips in memory; also a script that other processes run.

`python fake_run.py FOLDER [--resume] [--set section.name=value]... [--slow SECONDS]
[--fault NAME] [--data FOLDER] [--fsdp]`

Faults: `die`, a worker that ends; `stop`, a SIGTERM for the second of two processes at every clip
of the training; `stop-late`, at every clip of the validation.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from gasmcast.config import Config, parse_config
from gasmcast.labels import Labels

CLASSES = ("Rising light", "Falling light", "Steady light")
TINY = {
    "spec": {
        "segments": 2,
        "segment_s": 0.5,
        "motion_frames": 4,
        "semantic_frames": 1,
        "pixels": 32,
    },
    "model": {
        "classes": 3,
        "semantic_backbone": "tiny",
        "semantic_weights": "random",
        "semantic_taps": [1, 2],
        "motion_backbone": "tiny",
        "motion_weights": "random",
        "motion_taps": ["layer3", "layer4"],
        "width": 16,
        "layers": 2,
        "heads": 2,
        "k": 2,
        "temporal_adapter": 8,
        "drop_path": 0.1,
        "dropout": 0.1,
    },
    "augment": {"mixup": 0.0, "cutmix": 0.0},
    "train": {
        "epochs": 2,
        "batch_size": 4,
        "lr": 2e-3,
        "warmup_epochs": 0.5,
        "precision": "fp32",
        "workers": 0,
        "checkpoint_minutes": 60.0,
    },
}


def tiny_config(**settings) -> Config:
    """Return `TINY` with dotted settings (`train__epochs=3`)."""
    tree = {section: dict(values) for section, values in TINY.items()}
    for name, value in settings.items():
        section, _, leaf = name.partition("__")
        tree[section][leaf] = value
    return parse_config(tree, "test")


class FakeClips:
    """Clips whose brightness rises, falls or stays; only temporal order separates the first two."""

    def __init__(
        self,
        config: Config,
        count: int = 26,
        seed: int = 0,
        *,
        augment: bool = True,
        fault: str = "",
        slow: float = 0.0,
    ) -> None:
        self.spec, self.seed, self.augment, self.fault, self.slow = (
            config.spec,
            seed,
            augment,
            fault,
            slow,
        )
        self.epoch = torch.zeros(
            1, dtype=torch.int64
        ).share_memory_()  # workers stay from one epoch to the next
        self.labels = [i % len(CLASSES) for i in range(count)]
        self.ids = [f"clip{i}" for i in range(count)]
        self.started = (
            not augment
        )  # before its first epoch a run only fits statistics, and catches no signals

    def set_epoch(self, epoch: int) -> None:
        self.started = True
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        if self.slow:
            time.sleep(self.slow)
        if self.fault == "die" and int(self.epoch) == 1:
            os._exit(7)
        if self.fault == "stop" and self.started and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        rng = np.random.default_rng((self.seed, index, int(self.epoch) if self.augment else 0))
        shape = self.spec.clip_shape
        ramp = np.linspace(-1, 1, shape[0] * shape[1]) * (1, -1, 0)[self.labels[index]]
        values = 128 + 80 * ramp.reshape(*shape[:2], 1, 1, 1) + rng.normal(0, 8, shape)
        return torch.from_numpy(values.clip(0, 255).astype(np.uint8)), self.labels[index], index


def use_fsdp() -> None:
    """Use FSDP2 on the CPU: Accelerate offers it for GPUs only, but it runs with gloo as well."""
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "NO_WRAP",
    }
    import accelerate.state as states

    start = states.AcceleratorState.__init__

    def started(self, *args, fsdp_plugin=None, **options) -> None:
        fresh = not states.AcceleratorState._shared_state
        start(self, *args, fsdp_plugin=fsdp_plugin, **options)
        if fresh and self.distributed_type == states.DistributedType.MULTI_CPU:
            self.distributed_type = states.PartialState._shared_state["distributed_type"] = (
                states.DistributedType.FSDP
            )
            self.fsdp_plugin = fsdp_plugin

    states.AcceleratorState.__init__ = started


def decode(config: Config, data: Path) -> tuple:
    """Return training and validation clips of a set, which are decoded again in every epoch."""
    from gasmcast.data.annotations import read_split
    from gasmcast.data.dataset import ClipDataset

    parts = ((read_split(data, "train"), config.augment), (read_split(data, "validation"), None))
    return tuple(
        ClipDataset(samples, config.spec, augment, config.train.seed) for samples, augment in parts
    )


def print_threads() -> None:
    """Print the threads of gloo that would outlive the interpreter and can abort a finished run."""
    left = [
        name
        for task in Path("/proc/self/task").iterdir()
        if "gloo" in (name := (task / "comm").read_text().strip())
    ]
    if left:
        os.write(1, f"left {left}\n".encode())


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    atexit.register(print_threads)  # runs after what training registers
    if "--fsdp" in words:
        use_fsdp()
    from gasmcast.training.loop import train

    settings, slow, fault, data = {}, 0.0, "", ""
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if flag == "--set":
            name, _, text = value.partition("=")
            settings[name.replace(".", "__")] = int(text) if text.isdigit() else float(text)
        elif flag == "--slow":
            slow = float(value)
        elif flag == "--fault":
            fault = value
        elif flag == "--data":
            data = value
    config = tiny_config(**settings)
    validation_fault = "stop" if fault == "stop-late" else ""
    made = (
        FakeClips(config, slow=slow, fault=fault),
        FakeClips(config, 9, seed=1, augment=False, fault=validation_fault),
    )
    clips, validation = decode(config, Path(data)) if data else made
    summary = train(
        config, clips, validation, Labels(CLASSES), Path(words[0]), resume="--resume" in words
    )
    os.write(
        1, f"summary {summary['updates']} {summary['stopped']}\n".encode()
    )  # in one piece: two processes share the pipe


if __name__ == "__main__":
    main(sys.argv[1:])
    if "--fsdp" in sys.argv:
        # PyTorch's caches of split weights keep the threads of gloo, which sometimes abort at the
        # end of the interpreter.
        sys.stdout.flush()
        os._exit(0)
