"""Measure the runtime, one subprocess per row."""
