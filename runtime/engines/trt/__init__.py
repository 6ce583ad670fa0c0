"""Build, cache and load TensorRT engines."""
