"""Open a data set for training: from clips or from a feature cache."""
