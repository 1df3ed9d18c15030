"""Special functions under ``special``; filled from the op registry."""
