"""Write and restore the complete state of a training run."""
