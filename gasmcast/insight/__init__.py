"""Looking inside: counts, error analysis, plots."""
