"""``torch.masked``: reductions and normalisations of the elements that a mask lets through.

Elements masked out are replaced by what does not change the result (0 in a sum); what is left is the usual function.
"""

from __future__ import annotations

import math

import numbagrad as ng

from .base.dtypes import strided

__all__ = ["amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "is_masked_tensor", "log_softmax", "logaddexp", "logsumexp",
           "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var"]
_NARROW = (ng.uint8, ng.bool, ng.int8, ng.int16, ng.int32)


def __getattr__(name):
    from .public.absent import advice
    raise AttributeError(f"module 'numbagrad.masked' has no attribute '{name}' (torch.masked.{name} is not available here"
                         f"{advice('masked', name)})")


def is_masked_tensor(obj, /):
    """False: here a mask is an argument, and no tensor has one of its own."""
    return False


# --- the mask ---

def _reduction_identity(op_name, input, *args):
    """What a reduction may find in place of an element without changing its result."""
    dtype, floating = input.dtype, input.is_floating_point()
    bounded = dtype is not ng.bool and not dtype.barebones
    if op_name in ("sum", "cumsum"):
        value = 0
    elif op_name in ("prod", "cumprod"):
        value = 1
    elif op_name == "norm":
        if args and args[0] == -math.inf and not floating:
            raise AssertionError(f"input must be floating point, got {dtype}")
        value = math.inf if args and args[0] == -math.inf else 0
    elif op_name == "median":
        dtype, value = dtype if floating else ng.float32, math.nan
    elif op_name == "logsumexp" and dtype.is_complex:
        value = complex(-math.inf, 0)
    elif op_name in ("amax", "argmax", "logaddexp", "logsumexp") and bounded:
        value = -math.inf if floating else ng.iinfo(dtype).min
    elif op_name in ("amin", "argmin") and bounded:
        value = math.inf if floating else ng.iinfo(dtype).max
    else:
        raise NotImplementedError(f"identity of {op_name} on {dtype} input")
    return ng.tensor(value, dtype=dtype, device=input.device)


def _canonical_dim(dim, ndim):
    """The dimensions, all for None, in order."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    ndim, found = max(ndim, 1), []
    for d in (dim,) if isinstance(dim, int) else dim:
        if d in found:
            raise RuntimeError(f"dim={d} appears multiple times in the list of dims")
        if d >= ndim or d < -ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {d})")
        found.append(d % ndim)
    return tuple(sorted(found))


def _input_mask(input, *args, **kwargs):
    """The mask in the shape of the input."""
    mask = kwargs.get("mask")
    if mask is None:
        raise ValueError("_input_mask requires explicit mask")
    if mask.shape != input.shape:
        if mask.ndim > input.ndim:
            raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
        mask = ng.broadcast_to(mask, input.shape)
    return mask.to(dtype=ng.bool)


def _strided(what, *tensors):
    for t in tensors:
        if t.layout is not strided:
            raise ValueError(f"masked {what} expects strided tensor (got {t.layout} tensor)")


def _filled(what, input, mask, *args, by=None):
    """The input with identities (of ``by``) for the elements that are masked out."""
    _strided(what, input)
    if mask is None:
        return input
    return ng.where(_input_mask(input, mask=mask), input, _reduction_identity(by or what, input, *args))


# --- reductions ---

def _wide(input, dtype):
    if dtype is None:
        return ng.int64 if input.dtype in _NARROW else input.dtype
    return dtype


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of the elements that ``mask`` lets through."""
    return ng.sum(_filled("sum", input, mask), _canonical_dim(dim, input.ndim), bool(keepdim), dtype=_wide(input, dtype))


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of the elements that ``mask`` lets through."""
    dims = _canonical_dim(dim, input.ndim)
    result = _filled("prod", input, mask).to(dtype=_wide(input, dtype))
    for d in reversed(dims):
        result = result.prod(dim=d, keepdim=bool(keepdim))
    return result


def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest of the elements that ``mask`` lets through."""
    filled = _filled("amax", input, mask)
    return ng.amax(filled, _canonical_dim(dim, input.ndim), bool(keepdim)).to(dtype=dtype or input.dtype)


def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest of the elements that ``mask`` lets through."""
    filled = _filled("amin", input, mask)
    return ng.amin(filled, _canonical_dim(dim, input.ndim), bool(keepdim)).to(dtype=dtype or input.dtype)


def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the largest of the elements is that ``mask`` lets through, in the dtype of the input."""
    return ng.argmax(_filled("argmax", input, mask), dim, bool(keepdim)).to(dtype=dtype or input.dtype)


def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the smallest of the elements is that ``mask`` lets through, in the dtype of the input."""
    return ng.argmin(_filled("argmin", input, mask), dim, bool(keepdim)).to(dtype=dtype or input.dtype)


def _counted(input, dim, mask, keepdim, dtype):
    """(how many elements ``mask`` lets through, their sum, the mask in the shape of the input)."""
    inmask = None if mask is None else _input_mask(input, mask=mask)
    ones = ng.ones(input.shape, dtype=ng.int64, device=input.device) if mask is None else inmask
    count = sum(ones, dim, keepdim=keepdim) if mask is None else inmask.sum(dim=dim, keepdim=bool(keepdim))
    return count, sum(input, dim, keepdim=keepdim, dtype=dtype, mask=inmask), inmask


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of the elements that ``mask`` lets through; NaN where there are none."""
    source = "Input" if dtype is None else "Optional"
    dtype = dtype or input.dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"mean(): Could not infer output dtype. {source} dtype must be either a floating point or complex "
                         f"dtype. Got: {dtype}")
    _strided("mean", input)
    count, total, _ = _counted(input, dim, mask, keepdim, dtype)
    return total / count


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The lower median along a dimension of the elements that ``mask`` lets through; NaN where there are none."""
    dtype = dtype or input.dtype
    dim, = _canonical_dim(dim, input.ndim)[:1]
    floating = input.is_floating_point()
    if not floating:
        input = input.to(dtype=ng.float32)
    result = ng.nanmedian(_filled("median", input, mask), dim, keepdim).values
    if floating:
        return result
    if ng.isnan(result).any():
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return result.to(dtype=dtype)


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """``log(sum(exp(x)))`` of the elements that ``mask`` lets through."""
    dims = _canonical_dim(dim, input.ndim)
    return ng.logsumexp(_filled("logsumexp", input, mask), dims, keepdim=keepdim).to(dtype=dtype or input.dtype)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """``log(exp(x) + exp(y))``, each of the elements that its mask lets through."""
    if input.layout is not strided or other.layout is not strided:
        raise ValueError(f"masked logaddexp expects strided tensors (got {input.layout} tensor for input, {other.layout} for "
                         "other)")
    first, second = _filled("logaddexp", input, input_mask), _filled("logaddexp", other, other_mask)
    return ng.logaddexp(first, second).to(dtype=dtype or input.dtype)


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm of the elements that ``mask`` lets through."""
    filled = _filled("norm", input, mask, ord)
    return ng.linalg.vector_norm(filled, ord, _canonical_dim(dim, input.ndim), bool(keepdim), dtype=dtype or input.dtype)


def _variance(input, dim, unbiased, correction, keepdim, dtype, mask):
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    if correction is None:
        correction = 1.0 if unbiased is None or unbiased else 0.0
    if dtype is None:
        dtype = input.dtype if input.dtype.is_floating_point or input.dtype.is_complex else ng.float32
    wide = dtype if dtype.is_floating_point or dtype.is_complex else ng.float32
    _strided("std/var", input)
    count, total, inmask = _counted(input, dim, mask, True, dtype)
    x = input - total / count
    total = sum(x * x.conj(), dim, keepdim=keepdim, dtype=wide, mask=inmask)
    count = count if keepdim else count.reshape(total.shape)
    if correction != 0:
        count = count.to(wide.to_real()) - float(correction)
        count = ng.maximum(count, count.new_zeros([]))
    return (total / count).to(dtype=dtype)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance of the elements that ``mask`` lets through."""
    return _variance(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The standard deviation of the elements that ``mask`` lets through."""
    return ng.sqrt(_variance(input, dim, unbiased, correction, keepdim, dtype, mask))


# --- normalisations ---

def cumsum(input, dim, *, dtype=None, mask=None):
    """Sums of what ``mask`` lets through up to each element."""
    dim, dtype = _canonical_dim(dim, input.ndim)[0], dtype or input.dtype
    return ng.cumsum(_filled("cumsum", input, mask), dim, dtype=dtype).to(dtype=dtype)


def cumprod(input, dim, *, dtype=None, mask=None):
    """Products of what ``mask`` lets through up to each element."""
    dim, dtype = _canonical_dim(dim, input.ndim)[0], dtype or input.dtype
    return ng.cumprod(_filled("cumprod", input, mask), dim, dtype=dtype).to(dtype=dtype)


def softmax(input, dim, *, dtype=None, mask=None):
    """The softmax of the elements that ``mask`` lets through, 0 for the others."""
    dim = _canonical_dim(dim, input.ndim)[0]
    return ng.nn.functional.softmax(_filled("softmax", input, mask, by="amax"), dim, dtype=dtype or input.dtype)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """The logarithm of ``softmax``."""
    dim = _canonical_dim(dim, input.ndim)[0]
    return ng.nn.functional.log_softmax(_filled("log_softmax", input, mask, by="amax"), dim, dtype=dtype or input.dtype)


def softmin(input, dim, *, dtype=None, mask=None):
    """The softmax of the negative elements that ``mask`` lets through, 0 for the others."""
    dim = _canonical_dim(dim, input.ndim)[0]
    return ng.nn.functional.softmin(_filled("softmin", input, mask, by="amin"), dim, dtype=dtype or input.dtype)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The elements that ``mask`` lets through, divided by their norm along a dimension, or ``eps`` if that is larger."""
    filled = _filled("normalize", input, mask, by="sum")
    length = norm(input, ord, dim, keepdim=True, dtype=dtype or input.dtype, mask=mask)
    return filled / ng.maximum(length, length.new_full([], eps))
