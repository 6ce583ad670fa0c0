"""The state of one camera, from segment clock to decisions and events."""
