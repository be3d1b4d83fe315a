"""The engine on TensorRT."""
