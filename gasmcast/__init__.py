"""GASM-CAST: video action recognition from training to a camera at the edge."""

__version__ = "0.1.0"
__all__ = ["__version__"]
