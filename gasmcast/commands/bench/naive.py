"""The naive row of `gasmcast bench live`: PyTorch eager FP32, the whole window recomputed at every hop, as most demos do.

`python -m gasmcast.commands.bench.naive` answers as `gasmcast.runtime.bench.process` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gasmcast.runtime.bench.process import Task

__all__ = ["prepare"]


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    """Build the bundle's model with random weights, which cost the same, and run it once."""
    import torch

    from gasmcast.config import Config, ModelConfig
    from gasmcast.models.model import build_model
    from gasmcast.runtime.bench.process import spans
    from gasmcast.runtime.bundle import Bundle

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
        **spans({"ms": decide}),
        "engine": f"torch {torch.__version__}, {torch.get_num_threads()} threads",
    }


if __name__ == "__main__":
    from gasmcast.runtime.bench.process import serve

    serve(prepare)
