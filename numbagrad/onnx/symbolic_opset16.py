"""Operators of ONNX's set 16: none, as nothing is exported."""
