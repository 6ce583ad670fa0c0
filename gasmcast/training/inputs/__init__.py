"""Open a data set for training: from clips, from a feature cache, or from a cache that is filled first."""
