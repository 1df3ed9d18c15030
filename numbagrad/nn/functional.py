"""Functional layers and losses; filled from the op registry."""
