"""Linear algebra under ``linalg``; filled from the op registry."""
