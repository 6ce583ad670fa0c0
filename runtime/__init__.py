"""The edge: recognises actions from a bundle, without torch."""
