"""Windows over space: convolution, pooling, columns, interpolation, padding."""
