"""One number in, one number out: arithmetic, functions, activations, comparisons, choices."""
