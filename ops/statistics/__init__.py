"""Quantiles, covariances, distances, integrals and differences, histograms: what is composed of other ops."""
