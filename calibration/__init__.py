"""Calibration clips, activation statistics, and quantization to explicit Q/DQ."""
