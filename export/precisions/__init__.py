"""Create, time and repair the precisions of a bundle."""
