"""Operators of ONNX's set 13: none, as nothing is exported."""
