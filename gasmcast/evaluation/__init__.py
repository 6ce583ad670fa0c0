"""Evaluate a checkpoint or a bundle: metrics, calibration, error analysis."""
