"""Discrete Fourier transforms by SciPy's pocketfft."""
