"""Define the model: two frozen streams and the fusion head between them."""
