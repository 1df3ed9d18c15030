"""Reductions, scans, norms, softmax."""
