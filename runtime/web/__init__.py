"""The web view: pictures, decisions and events of a run in a browser (`--web`)."""

__all__ = ["PORT"]

PORT = 8420
"""Port of `--web` without an address."""
