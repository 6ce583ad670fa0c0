"""The edge: recognizes actions from a bundle, without torch."""
