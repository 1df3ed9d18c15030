"""Tensors: their memory, values and history, and loops over them."""
