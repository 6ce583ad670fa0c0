"""Readers of annotation formats: each file has one function from a path to an index of clips."""
