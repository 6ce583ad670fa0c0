"""The naive row of `gasmcast bench live`, as most demos work.

PyTorch eager FP32, the whole window recomputed at every hop. `python -m
gasmcast.commands.bench.naive` answers as `gasmcast.runtime.bench.dispatch` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gasmcast.runtime.bench.task import Task, Turn

__all__ = ["prepare"]


def prepare(task: Task) -> Turn:
    """Build the bundle's model with random weights, which cost the same, and run it once."""
    import torch

    from gasmcast.config import Config, ModelConfig
    from gasmcast.models.model import build_model
    from gasmcast.runtime.bench.task import TURN_S
    from gasmcast.runtime.bundle import Bundle
    from gasmcast.stopwatch import alternate_ms

    manifest = Bundle.open(task.bundle, verify=False).manifest
    random = {**manifest.model, "semantic_weights": "random", "motion_weights": "random"}
    model = build_model(Config(spec=manifest.spec, model=ModelConfig.model_validate(random))).eval()
    if task.threads:
        torch.set_num_threads(task.threads)
    clip = torch.randint(0, 256, (1, *manifest.spec.clip_shape), dtype=torch.uint8)

    def decide() -> None:
        with torch.inference_mode():
            model(clip)

    decide()
    return lambda: {
        **alternate_ms({"ms": decide}, TURN_S),
        "engine": f"torch {torch.__version__}, {torch.get_num_threads()} threads",
    }


if __name__ == "__main__":
    from gasmcast.runtime.bench.process import serve

    serve(prepare)
