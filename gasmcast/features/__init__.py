"""Store backbone features of a data set once, so that every training run can read them."""
