"""Define the fusion head: layers over the encoded segments of a window, then the read-out."""
