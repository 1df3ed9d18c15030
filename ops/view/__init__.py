"""New geometry on the same memory, and slices."""
