"""Where numbagrad and PyTorch are known to differ, each with the reason. Nothing else may."""

# Nodes with another name: composed of several ops here, one node there.
NODES = {
    "mvlgamma": "a sum of lgamma here",
    "multigammaln": "a sum of lgamma here",
}

# PyTorch computes these less exactly; the tolerance of the comparison.
LESS_EXACT = {
    "lgamma": 2e-9, "gammaln": 2e-9, "digamma": 2e-9, "psi": 2e-9, "polygamma": 2e-9, "polygamma_method": 2e-9,
    "mvlgamma": 2e-9, "multigammaln": 2e-9,  # its trigamma series stops at the sixth term
    "hardsigmoid": 4e-8,  # 1/6 as a float32 constant, in float64 too
}

# Ops that have no reference, samples or gradient test of their own.
WITHOUT = {}

# (op, dtype): PyTorch has no kernel, or another result, for no reason of arithmetic.
DTYPES = {
    ("hardtanh", "uint8"): "PyTorch refuses negative limits; they clamp nothing",
    **{("lerp", d): "a number as weight promotes integers as in arithmetic"
       for d in ("bool", "uint8", "int32", "int64")},
    ("softsign", "bool"): "its composition meets abs, which has no bool kernel",
    ("tanhshrink", "bool"): "its composition meets a bool subtraction",
}

# Ops that take arguments which PyTorch refuses, or the other way round.
LENIENT = {}

# Gradients that PyTorch itself gets wrong or cannot compute; finite differences judge these alone.
GRADIENTS = {
    "as_strided_scatter": "PyTorch keeps the gradient inside the written region and drops the rest: the wrong way round",
    "vander": "PyTorch's own in-place operations break its backward",
}
