"""Calibration clips, activation statistics, and quantisation to explicit Q/DQ."""
