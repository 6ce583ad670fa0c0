"""Define the two frozen backbones and load their weights."""
