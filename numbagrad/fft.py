"""Discrete Fourier transforms under ``fft``; filled from the op registry."""
