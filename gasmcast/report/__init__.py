"""Plots, charts and HTML that every report shares."""
