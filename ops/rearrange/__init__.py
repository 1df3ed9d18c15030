"""Copies, joins, parts, repetitions and triangles."""
