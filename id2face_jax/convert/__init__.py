"""Public PyTorch and ONNX weights to our parameters."""
