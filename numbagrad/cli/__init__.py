"""The command line: ``python -m numbagrad run | info | warmup | source | api``."""
