"""Decode video files into frames, and into clips on the grid of the clip spec.

Training and runtime both read through this package.
"""
