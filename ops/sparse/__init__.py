"""Sparse tensors in coordinates."""
