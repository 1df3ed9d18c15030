"""Operators of ONNX's set 17: none, as nothing is exported."""
