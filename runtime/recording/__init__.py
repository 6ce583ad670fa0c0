"""Record a run and replay it."""
