"""Decode video files into frames and into clips on the grid of the clip spec; training and runtime both use it."""
