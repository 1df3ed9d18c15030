"""What a name of PyTorch that is not here is told by: that it is not, and what does the same, where something does."""

from __future__ import annotations

_SCIPY = """airy_ai=airy bessel_j0=j0 bessel_j1=j1 bessel_y0=y0 bessel_y1=y1 chebyshev_polynomial_t=eval_chebyt
chebyshev_polynomial_u=eval_chebyu erfcx=erfcx hermite_polynomial_h=eval_hermite hermite_polynomial_he=eval_hermitenorm
laguerre_polynomial_l=eval_laguerre legendre_polynomial_p=eval_legendre log_ndtr=log_ndtr modified_bessel_i0=iv
modified_bessel_i1=iv modified_bessel_k0=k0 modified_bessel_k1=k1 ndtri=ndtri scaled_modified_bessel_k0=k0e
scaled_modified_bessel_k1=k1e shifted_chebyshev_polynomial_t=eval_sh_chebyt shifted_chebyshev_polynomial_u=eval_sh_chebyu
spherical_bessel_j0=spherical_jn zeta=zeta"""
_BY_COORDINATES = "torch.sparse_coo_tensor: of sparse layouts there are coordinates alone"
_PARTS = "utils.checkpoint.checkpoint around what is to be computed again"
_PADDED = "nn.utils.rnn.pad_sequence and a mask"
# By full names, without "torch.".
INSTEAD = {
    "Tensor.chalf": "torch.complex64",
    "lobpcg": "torch.linalg.eigh",
    "values_copy": "Tensor.values().clone()", "indices_copy": "Tensor.indices().clone()",
    **{f"special.{new}": f"scipy.special.{old}" for new, old in (pair.split("=") for pair in _SCIPY.split())},
    **dict.fromkeys([f"sparse_{name}_tensor" for name in "bsc bsr csc csr compressed".split()], _BY_COORDINATES),
    **dict.fromkeys(("crow_indices_copy", "col_indices_copy", "Tensor.crow_indices", "Tensor.col_indices"), _BY_COORDINATES),
    **dict.fromkeys([f"Tensor.to_sparse_{name}" for name in "bsc bsr csc csr".split()], "Tensor.to_sparse"),
    "Tensor.to_mkldnn": "the tensor as it is", "Tensor.to_padded_tensor": _PADDED,
    **dict.fromkeys(("nested.as_nested_tensor", "nested.nested_tensor", "nested.nested_tensor_from_jagged"), _PADDED),
    **dict.fromkeys(("masked.MaskedTensor", "masked.masked_tensor", "masked.as_masked_tensor"),
                    "the functions of torch.masked with mask=, or torch.where"), "nested": _PADDED,
    **dict.fromkeys([f"utils.checkpoint.{name}" for name in (
        "CheckpointPolicy", "SAC_IGNORED_OPS", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts")],
        _PARTS),
    **dict.fromkeys([f"fx.{name}" for name in ("Interpreter", "Transformer", "replace_pattern")], "numbagrad.compile"),
    "jit.CompilationUnit": "numbagrad.compile",
    "Tensor.xpu": "Tensor.to", "Tensor.ipu": "Tensor.to", "Tensor.mtia": "Tensor.to",
    **dict.fromkeys([f"autograd.profiler.{name}" for name in ("load_nvprof", "parse_nvprof_trace")],
                    "the profiler, which writes Chrome traces"),
    "profiler.ExecutionTraceObserver": "profiler.profile(...).export_chrome_trace"}


def advice(space, name):
    """What to use instead of a name, in words that follow the error, or nothing."""
    found = INSTEAD.get(name if space == "torch" else f"{space}.{name}")
    return f"; use {found}" if found else ""
