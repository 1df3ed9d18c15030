"""``torch.fft``: one, two and more dimensions, there and back, of complex, real and Hermitian numbers; frequencies."""

from __future__ import annotations

import math

import numpy as np

from numbagrad import fft
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.creation import arange
from numbagrad.core.out import write_new, write_out
from numbagrad.dispatch.op import add_function
from numbagrad.extend import Sample, function

from .transforms import c2c, c2r, conjugated, factor, op, r2c

SPACES = {"namespaces": ("fft",), "method": False}
KINDS = {"n": "int?", "dim": "ints?", "s": "ints?", "norm": "any"}


# --- arguments ---

# What is said of complex numbers where real ones are transformed.
REAL = {**dict.fromkeys(("rfft2", "rfftn"), "rfftn expects a real-valued input tensor, but got"),
        **dict.fromkeys(("ihfft2", "ihfftn"), "Only supports floating-point dtypes, but found:")}


def _floating(input, wanted=None, name=""):
    """The input in a dtype that is transformed; ``wanted``: complex, or real and nothing else."""
    d = input._kind.dtype
    if wanted == "real" and d.is_complex:
        raise RuntimeError(f"{REAL.get(name, f'{name} expects a real input tensor, but got')} {dt.scalar_name(d)}")
    if d.category < 2:
        d = dt.get_default_dtype()
    if d.code in ("f2", "bf"):
        raise RuntimeError(f"Unsupported dtype {dt.scalar_name(d)}")
    d = d.to_complex() if wanted == "complex" and not d.is_complex else d
    return input if d is input._kind.dtype else input.to(dtype=d)


def _points(n):
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _one(input, dim):
    if not input._shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, len(input._shape))


def _several(input, s, dim):
    """(dimensions, sizes) of a transform over several; a size is None where it stays the input's."""
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    n = len(input._shape)
    if dim and not n:
        raise IndexError(f"Dimension specified as {dim[0]} but tensor has no dimensions")
    if dim is not None:
        dims = tuple([wrap_dim(d, n) for d in dim])
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None and len(s) > n:
        raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {n} dimensions.")
    else:
        dims = tuple(range(n)) if s is None else tuple(range(n - len(s), n))
    sizes = [None] * len(dims) if s is None else [None if size == -1 else size for size in s]
    for d, size in zip(dims, sizes):
        _points(input._shape[d] if size is None else size)
    return dims, sizes


def _resized(x, dims, sizes):
    """``x`` cut, or filled up with zeros, to these sizes."""
    pads = [0] * (2 * len(x._shape))
    for d, size in zip(dims, sizes):
        if size is not None and size < x._shape[d]:
            x = op("narrow")(x, d, 0, size)
        elif size is not None:
            pads[2 * (len(x._shape) - 1 - d) + 1] = size - x._shape[d]
    return op("constant_pad_nd")(x, pads) if any(pads) else x


def _count(x, dims):
    return math.prod([x._shape[d] for d in dims])


def _finish(name, out, value, input):
    if out is None:
        return value
    if out._kind.dtype.is_complex is not value._kind.dtype.is_complex:
        kind = "complex" if value._kind.dtype.is_complex else "floating point"
        raise RuntimeError(f"{name} expects a {kind} output tensor, but got {dt.scalar_name(out._kind.dtype)}")
    return write_out(f"fft_{name}", out, value, (input,), True)


# --- transforms over given dimensions ---

def _full(name, input, dims, sizes, norm, forward, out):
    """The transform of complex or real numbers to complex ones."""
    x = _resized(_floating(input, "complex" if len(dims) != 1 else None), dims, sizes)
    scale = factor(norm, _count(x, dims), forward)
    if not dims:
        return _finish(name, out, x.clone(), input)
    if x._kind.dtype.is_complex:
        return _finish(name, out, c2c(x, dims, scale, forward), input)
    return _finish(name, out, (r2c if forward else conjugated)(x, dims, scale, False, forward, False), input)


def _half(name, input, dims, sizes, norm, forward, out):
    """The first half of the transform of real numbers."""
    x = _floating(input, "real", name)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    x = _resized(x, dims, sizes)
    scale = factor(norm, _count(x, dims), forward)
    return _finish(name, out, (r2c if forward else conjugated)(x, dims, scale, True, forward, False), input)


def _real(name, input, dims, sizes, norm, forward, out):
    """Real numbers of the first half of their transform."""
    x = _floating(input, "complex")
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    last = _points(2 * (x._shape[dims[-1]] - 1) if sizes[-1] is None else sizes[-1])
    x = _resized(x, dims, [*sizes[:-1], last // 2 + 1])
    scale = factor(norm, math.prod([x._shape[d] for d in dims[:-1]]) * last, forward)
    return _finish(name, out, c2r(x, dims, scale, last, True, forward, True), input)


# --- one dimension ---

ONE = (Sample((3, 4)), Sample((4,), 6), Sample((3, 5), 3, 0), Sample((2, 4), norm="ortho"), Sample((2, 4), norm="forward"))
BACK = (Sample((3, 4)), Sample((4,), 7), Sample((3, 5), 3, 0), Sample((2, 4), norm="ortho"), Sample((2, 4), norm="forward"))
MANY = (Sample((3, 4)), Sample((2, 3, 4), [2, 5]), Sample((3, 4), dim=[0], norm="ortho"), Sample((2, 3), norm="forward"))


def _numpy(name):
    return lambda x, *args, **options: getattr(np.fft, name)(x, *[a for a in args if not isinstance(a, str)], **options)


def _declare(name, doc, run, samples):
    """A function of one dimension."""
    def call(input, n=None, dim=-1, norm=None, *, out=None):
        d = _one(input, dim)
        return run(name, input, (d,), n, norm, out)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    call.__module__ = __name__
    return function(call, reference=_numpy(name), samples=samples, kinds={**KINDS, "dim": "int"}, **SPACES)


def _sized(fn, forward):
    def run(name, input, dims, n, norm, out):
        if fn is not _real:
            _points(input._shape[dims[0]] if n is None else n)
        return fn(name, input, dims, [n], norm, forward, out)
    return run


for _name, _fn, _forward, _doc in (
        ("fft", _full, True, "Sums of ``input`` times ``exp(-2 pi i j k / n)`` along a dimension."),
        ("ifft", _full, False, "The inverse of ``fft``."),
        ("rfft", _half, True, "The first half of ``fft`` of real numbers."),
        ("irfft", _real, False, "The inverse of ``rfft``."),
        ("hfft", _real, True, "``fft`` of numbers whose second half are the conjugates of the first, given by that."),
        ("ihfft", _half, False, "The inverse of ``hfft``.")):
    _declare(_name, _doc, _sized(_fn, _forward), BACK if _fn is _real else ONE)


# --- several dimensions ---

def _declare_several(name, doc, run, default, reference, samples):
    """A function of several dimensions: the last two, or all, unless some are given."""
    if default is None:
        def call(input, s=None, dim=None, norm=None, *, out=None):
            return run(name, input, s, dim, norm, out)
    else:
        def call(input, s=None, dim=(-2, -1), norm=None, *, out=None):
            return run(name, input, s, dim, norm, out)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    call.__module__ = __name__
    return function(call, reference=reference, samples=samples, kinds=KINDS, **SPACES)


def _full_several(forward):
    return lambda name, input, s, dim, norm, out: _full(name, input, *_several(input, s, dim), norm, forward, out)


def _half_several(forward):
    return lambda name, input, s, dim, norm, out: _half(name, input, *_several(input, s, dim), norm, forward, out)


def _real_several(forward):
    def run(name, input, s, dim, norm, out):
        dims, sizes = _several(input, s, dim)
        return _real(name, input, dims, sizes, norm, forward, out)
    return run


def _numpy_several(name):
    """NumPy's function; of Hermitian numbers by that of real ones."""
    default = (-2, -1) if name.endswith("2") else None

    def run(x, s=None, dim=default, norm=None):
        dims = tuple(dim) if dim is not None else tuple(range(0 if s is None else x.ndim - len(s), x.ndim))
        other = {"hfft": ("irfftn", np.conj, lambda y: y), "ihfft": ("rfftn", lambda x: x, np.conj)}
        base = name[:-1]
        if base in other:
            inner, before, after = other[base]
            swapped = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}[norm]
            return after(getattr(np.fft, inner)(before(x), s, dims, swapped))
        return getattr(np.fft, base + "n")(x, s, dims, norm)
    return run


for _name, _run, _doc in (
        ("fft", _full_several(True), "``fft`` over"), ("ifft", _full_several(False), "The inverse of ``fft`` over"),
        ("rfft", _half_several(True), "``fft`` of real numbers, the last dimension by its first half, over"),
        ("irfft", _real_several(False), "The inverse of ``rfft`` over"),
        ("hfft", _real_several(True), "``hfft`` of the last, ``fft`` of the other of"),
        ("ihfft", _half_several(False), "The inverse of ``hfft`` over")):
    for _suffix, _dims, _which in (("2", (-2, -1), "two dimensions"), ("n", None, "all dimensions, or those that are given")):
        _declare_several(_name + _suffix, f"{_doc} {_which}.", _run, _dims, _numpy_several(_name + _suffix), MANY)


# --- frequencies, order ---

def _frequencies(name, n, d, count, first, out, dtype, device, requires_grad):
    dtype = dtype or dt.get_default_dtype()
    if dtype.category < 2:
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    k = arange(count, dtype=dt.float64)
    if first:
        k = op("where")(k >= first, k - n, k)
    t = (k * (1.0 / (n * d) if n * d else math.inf)).to(device=device, dtype=dtype)
    if out is not None:
        return write_new(f"fft_{name}", out, t)
    return t.requires_grad_() if requires_grad else t


def fftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Frequencies of the results of ``fft`` of ``n`` numbers that are ``d`` apart."""
    return _frequencies("fftfreq", n, d, n, (n + 1) // 2, out, dtype, device, requires_grad)


def rfftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """Frequencies of the results of ``rfft`` of ``n`` numbers that are ``d`` apart."""
    return _frequencies("rfftfreq", n, d, n // 2 + 1, 0, out, dtype, device, requires_grad)


for _fn in (fftfreq, rfftfreq):
    add_function(fft, _fn, n="int", d="number", dtype="any", layout="any", device="any", requires_grad="bool")


def _shift_dims(input, dim):
    return tuple(range(len(input._shape))) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)


@function(reference=np.fft.fftshift, samples=(Sample((3, 4)), Sample((3, 5), 1), Sample((4, 3), [0, 1])), kinds=KINDS,
          dtypes="any", **SPACES)
def fftshift(input, dim=None):
    """The frequency 0 moved to the middle."""
    dims = _shift_dims(input, dim)
    return op("roll")(input, [input.size(d) // 2 for d in dims], dims)


@function(reference=np.fft.ifftshift, samples=(Sample((3, 4)), Sample((3, 5), 1), Sample((4, 3), [0, 1])), kinds=KINDS,
          dtypes="any", **SPACES)
def ifftshift(input, dim=None):
    """The inverse of ``fftshift``."""
    dims = _shift_dims(input, dim)
    return op("roll")(input, [(input.size(d) + 1) // 2 for d in dims], dims)
