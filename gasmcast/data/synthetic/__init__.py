"""Generate synthetic clips whose classes differ only in the direction of time."""
