"""Train and export on your own clips: python examples/train_own_clips.py DATA OUT [PRESET]."""

import sys
from pathlib import Path

import gasmcast

data, out = Path(sys.argv[1]), Path(sys.argv[2])
preset = sys.argv[3] if len(sys.argv) > 3 else "small-data"

run = gasmcast.train(preset, data, out / "run")
print(f"best epoch {run.best_epoch}")

evaluation = gasmcast.evaluate(out / "run", data)
print(f"top-1 {100 * evaluation.scores.top1:.1f} %")

bundle = gasmcast.export(out / "run", out / "model.gasm", data=data)
print(f"wrote {bundle.path}; precisions: {', '.join(bundle.manifest.precisions)}")
