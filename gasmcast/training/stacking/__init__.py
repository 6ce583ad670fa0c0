"""Fit the stream weights of a guarded model on cross-validation folds."""
