"""Trace PyTorch modules to ONNX graphs, clean them, convert them, and check them against parser rules."""
