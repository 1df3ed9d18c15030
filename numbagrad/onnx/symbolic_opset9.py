"""Operators of ONNX's set 9: none, as nothing is exported."""
