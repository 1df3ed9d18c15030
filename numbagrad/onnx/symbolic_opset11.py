"""Operators of ONNX's set 11: none, as nothing is exported."""
