"""Trace PyTorch modules to ONNX graphs, clean and convert them, and check them against rules."""
