"""The YAML presets and the official class names."""

__all__ = ["PRESETS"]

PRESETS = ("ssv2", "seed", "edge", "lite", "nano", "demo", "small-data")
"""Names of the presets: each is a YAML file in this folder."""
