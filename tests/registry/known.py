"""Where numbagrad and PyTorch are known to differ, each with the reason. Nothing else may."""

import numpy as np

# Nodes with another name: composed of several ops here, one node there.
NODES = {
    "mvlgamma": "a sum of lgamma here",
    "multigammaln": "a sum of lgamma here",
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "lstm", "gru", "rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"),
                    "one node for all steps of a layer here, a chain of operations in PyTorch"),
    **dict.fromkeys(("cdist", "dist", "renorm"), "norms of differences here, one node there"),
    **dict.fromkeys(("trapezoid", "trapz", "cumulative_trapezoid", "quantile", "nanquantile", "tensorinv", "tensorsolve"),
                    "composed of the same ops, of which C++ calls another overload last"),
    "scaled_dot_product_attention": "one node for all ranks and masks here, some of them a chain in PyTorch",
}

# PyTorch computes these less exactly; the tolerance of the comparison.
LESS_EXACT = {
    "lgamma": 2e-9, "gammaln": 2e-9, "digamma": 2e-9, "psi": 2e-9, "polygamma": 2e-9, "polygamma_method": 2e-9,
    "mvlgamma": 2e-9, "multigammaln": 2e-9,  # its trigamma series stops at the sixth term
    "binary_cross_entropy": 1e-10,  # adds 1e-12 to denominators
    "hardsigmoid": 4e-8,  # 1/6 as a float32 constant, in float64 too
}

# Elementwise ops whose formula subtracts: an error of an ulp in what is subtracted may be many of what is left.
CANCELS = {
    "lerp": "start and its way to end may have opposite signs",
    "logit": "the logarithm of a quotient next to 1",
    "normal_cdf": "far below 0 the rounding of x / sqrt(2) counts x^2 times",
}

# How large the terms of an op and of its derivative are, from its arrays, and why its error is one of the terms: in float32,
# and in PyTorch.
TERMS = {"gelu": (np.abs, np.ones_like, "x / 2 and x / 2 times an error function cancel below 0; in float64 alone it costs "
                                        "nothing not to add them")}

# Public ops without samples or reference of their own, and where they are tested.
CASTS = "a conversion: test_ops_dtypes.py converts between all pairs"
IN_PLACE = "writes into its argument: test_ops_gradients.py, functional in-place forms"
WITHOUT = {
    **dict.fromkeys(("to", "float", "double", "half", "bfloat16", "int", "long", "short", "char", "byte", "bool", "cfloat",
                     "cdouble", "type_as"), CASTS),
    **dict.fromkeys(("relu_", "leaky_relu_", "elu_", "hardtanh_", "selu_", "threshold_", "celu_", "rrelu_", "logical_and_",
                     "logical_or_", "logical_xor_", "logical_not_"), IN_PLACE),
    "contiguous": "the tensor itself or clone; test_ops_layouts.py runs it",
    "cpu": "the tensor itself here; the tests of CUDA move tensors",
    "cuda": "needs a device; the tests of CUDA move tensors",
    "multi_head_attention_forward": "what nn.MultiheadAttention runs: test_attention.py",
    "broadcast_shapes": "takes shapes, no tensors",
    **dict.fromkeys(("_standard_gamma_grad", "_dirichlet_grad"), "published approximations: test_samplers.py"),
    **dict.fromkeys(("cholesky", "cholesky_solve", "cholesky_inverse", "qr", "eigh", "eigvalsh", "svd", "eig", "eigvals",
                     "lstsq"), "random samples are no positive definite or full-rank matrices: test_linalg.py"),
    **dict.fromkeys(("lu", "lu_factor", "lu_factor_ex", "lu_solve", "lu_unpack", "ldl_factor", "ldl_factor_ex", "ldl_solve",
                     "inv_ex", "solve_ex", "cholesky_ex"), "with numbers on what went wrong: test_elimination.py"),
    **dict.fromkeys(("stft", "istft"), "takes a signal and many words: test_fft.py"),
    **dict.fromkeys(("tril_indices", "triu_indices"), "takes sizes, no tensors: test_views.py"),
}

# (op, dtype): PyTorch has no kernel, or another result, for no reason of arithmetic.
DTYPES = {
    ("hardtanh", "uint8"): "PyTorch refuses negative limits; they clamp nothing",
    **{("lerp", d): "a number as weight promotes integers as in arithmetic"
       for d in ("bool", "uint8", "int32", "int64")},
    ("softsign", "bool"): "its composition meets abs, which has no bool kernel",
    ("tanhshrink", "bool"): "its composition meets a bool subtraction",
}

# Ops of several tensors that take other dtypes together than PyTorch does.
MIXED = {
    "ldexp": "two to the power of a bool is there",
    "bmm": "two dtypes are refused in empty products too",
    "hinge_embedding_loss": "PyTorch mixes the results of two floats with integers",
}

# Ops that take arguments which PyTorch refuses, or the other way round.
LENIENT = {
    "_weight_norm": "PyTorch reads beyond the lengths where these do not fit the weight",
    "adaptive_avg_pool2d": "PyTorch computes a mean for an input of two dimensions when output_size is 1",
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "lstm", "gru", "rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"),
                    "PyTorch broadcasts a bias without dimensions"),
}

# Gradients that PyTorch itself gets wrong or cannot compute; finite differences judge these alone.
GRADIENTS = {
    "_weight_norm": "PyTorch's second derivative by the directions is wrong, as its own gradgradcheck says",
    "as_strided_scatter": "PyTorch keeps the gradient inside the written region and drops the rest: the wrong way round",
    "complex": "the helper weighs real outputs: test_complex.py", "polar": "the helper weighs real outputs: test_complex.py",
    "vander": "PyTorch's own in-place operations break its backward",
    **dict.fromkeys([name + suffix for name in ("fft", "ifft", "rfft", "ihfft") for suffix in ("", "2", "n")],
                    "the helper weighs real outputs: test_fft.py"),
}

# Ops whose meaning is the layout itself: another layout is refused or gives other elements, as in PyTorch (test_views.py).
MEMORY = {name: "its result depends on the strides" for name in (
    "view", "view_as", "view_shape", "unsafe_view", "reshape_alias", "strided", "as_strided", "view_as_complex")}
