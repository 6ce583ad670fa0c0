"""State of one camera, from the segment clock to decisions and events."""
