"""Train on your own clips: python examples/train_own_clips.py DATA OUT [PRESET [KEY=VALUE ...]].

A setting is given as `train.epochs=20`, as with `gasmcast train --set`.
"""

import sys
from pathlib import Path

import gasmcast

data, out = Path(sys.argv[1]), Path(sys.argv[2])
preset = sys.argv[3] if len(sys.argv) > 3 else "small-data"
settings = dict(pair.split("=", 1) for pair in sys.argv[4:])

run = gasmcast.train(preset, data, out / "run", settings=settings)
print(f"best epoch {run.best_epoch}")

evaluation = gasmcast.evaluate(out / "run", data)
print(f"top-1 {100 * evaluation.scores.top1:.1f} %")

bundle = gasmcast.export(out / "run", out / "model.gasm", data=data)
print(f"wrote {bundle.path}; precisions: {', '.join(bundle.manifest.precisions)}")
