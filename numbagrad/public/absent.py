"""What a name of PyTorch that is not here is told by: that it is not, and what does the same, where something does."""

from __future__ import annotations

# By full names, without "torch.".
INSTEAD = {
    "complex32": "torch.complex64", "chalf": "torch.complex64", "Tensor.chalf": "torch.complex64",
    "lobpcg": "torch.linalg.eigh", "cond": "a Python if, which a compiled step follows", "export": "numbagrad.compile",
    "sspaddmm": "torch.addmm", "smm": "torch.mm", "hspmm": "torch.mm",
    "histogramdd": "numpy.histogramdd", "ormqr": "torch.linalg.householder_product and a product",
    "Tensor.ormqr": "torch.linalg.householder_product and a product",
    "jit.CompilationUnit": "numbagrad.compile",
    **dict.fromkeys(("masked.MaskedTensor", "masked.masked_tensor", "masked.as_masked_tensor"),
                    "the functions of torch.masked with mask=, or torch.where"),
    "utils.data.DistributedSampler": "one process"}


def advice(space, name):
    """What to use instead of a name, in words that follow the error, or nothing."""
    found = INSTEAD.get(name if space == "torch" else f"{space}.{name}")
    return f"; use {found}" if found else ""
