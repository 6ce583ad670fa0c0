"""The YAML presets and the official class names."""
