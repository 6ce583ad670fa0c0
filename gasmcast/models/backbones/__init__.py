"""The two frozen backbones and what loads their weights."""
