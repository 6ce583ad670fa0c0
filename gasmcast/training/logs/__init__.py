"""Record what a training run does: terminal, run folder, metrics."""
