"""Kernel machinery: scalar expressions, vector math, emission, caching, launching."""
