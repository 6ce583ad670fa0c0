"""Fit the stream weights of a guarded read-out on cross-validation folds."""
