"""The feature cache: backbone features of a data set, encoded once and read by every training run."""
