"""Looking inside: counts, attention maps, error analysis, plots."""
