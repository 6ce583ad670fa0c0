"""Check graphs with TensorRT-RTX, and compile with torch-tensorrt."""
