"""Label large sets of videos on one machine or a Ray cluster."""
