"""Check a data set before a training: what was understood, and what would spoil the result."""
