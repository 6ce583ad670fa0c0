"""Sinks of decisions: terminal, files, network, screen."""
