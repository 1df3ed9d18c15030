"""``torch.testing``: comparison with PyTorch's default tolerances and words, and random tensors of any dtype."""

from __future__ import annotations

import collections.abc
import math
import warnings

import numpy as np

from .base import dtypes as dt
from .base.user_code import user_level
from .core.creation import as_tensor, empty, tensor
from .core.registry import REGISTRY
from .core.tensor import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
# (relative, absolute) per dtype; exact for the others.
TOLERANCES = {dt.float16: (1e-3, 1e-5), dt.bfloat16: (1.6e-2, 1e-5), dt.float32: (1.3e-6, 1e-5), dt.float64: (1e-7, 1e-7),
              dt.complex64: (1.3e-6, 1e-5), dt.complex128: (1e-7, 1e-7)}
OLDER = {dt.float16: (1e-3, 1e-3), dt.float32: (1e-4, 1e-5), dt.float64: (1e-5, 1e-8)}
NUMBERS = (int, float, complex, np.number)


class Different(Exception):  # noqa: N818 (it never leaves this module)
    """What differs: the exception to raise, its text and where it was found."""

    def __init__(self, kind, text, where):
        super().__init__(text)
        self.kind, self.text, self.where = kind, text, where

    def error(self, msg):
        """The exception to raise, with the user's message."""
        items = "".join([f"[{item!r}]" for item in self.where])
        text = self.text + (f"\n\nThe failure occurred for item {items}" if items else "")
        return self.kind(text if msg is None else msg(text) if callable(msg) else msg)


def assert_close(actual, expected, *, allow_subclasses=True, rtol=None, atol=None, equal_nan=False, check_device=True,
                 check_dtype=True, check_layout=True, check_stride=False, msg=None):
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere, shapes, dtypes and
    devices being equal; sequences and mappings are compared item by item."""
    options = {"allow_subclasses": allow_subclasses, "rtol": rtol, "atol": atol, "equal_nan": equal_nan,
               "check_device": check_device, "check_dtype": check_dtype, "check_stride": check_stride}
    try:
        pairs = list(_pairs(actual, expected, (), options))
        for compare, *pair in pairs:
            compare(*pair, options)
    except Different as found:
        error = found.error(msg)
    else:
        return
    raise error


def _pairs(actual, expected, where, options):
    """(comparison, actual, expected, where) of what there is in two objects."""
    sequences, mappings = collections.abc.Sequence, collections.abc.Mapping
    if _both(sequences, actual, expected) and not isinstance(actual, str) and not isinstance(expected, str):
        if len(actual) != len(expected):
            raise Different(AssertionError, f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where)
        for i, (a, e) in enumerate(zip(actual, expected)):
            yield from _pairs(a, e, (*where, i), options)
    elif _both(mappings, actual, expected):
        if set(actual) != set(expected):
            missing, more = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
            raise Different(AssertionError, "The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                            f"{missing}\nAdditional keys in the actual mapping: {more}", where)
        for key in actual if not _sortable(actual) else sorted(actual):
            yield from _pairs(actual[key], expected[key], (*where, key), options)
    elif actual is None or expected is None:
        yield _compare_none, actual, expected, where
    elif _both((bool, np.bool_), actual, expected):
        yield _compare_bools, actual, expected, where
    elif _both(NUMBERS, actual, expected):
        yield _compare_numbers, actual, expected, where
    elif _alike(actual, expected, options["allow_subclasses"]):
        yield _compare_tensors, as_tensor(actual), as_tensor(expected), where
    else:
        raise Different(TypeError, f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.",
                        where)


def _both(classes, *values):
    return all([isinstance(v, classes) for v in values])


def _sortable(mapping):
    try:
        sorted(mapping)
    except TypeError:
        return False
    return True


def _alike(actual, expected, allow_subclasses):
    """Whether two values are tensors, or arrays, of which one's class is the other's or a base of it."""
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    return _both((Tensor, np.ndarray), actual, expected) and (
        related if allow_subclasses else type(actual) is type(expected))


def _tolerances(options, dtypes, where):
    rtol, atol = options["rtol"], options["atol"]
    if (rtol is None) != (atol is None):
        raise Different(ValueError, "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
                        f"{'rtol' if rtol is None else 'atol'}.", where)
    return (rtol, atol) if rtol is not None else _loosest(dtypes, TOLERANCES)


def _loosest(dtypes, table):
    return tuple(map(max, zip(*[table.get(d, (0.0, 0.0)) for d in dtypes])))


def _compare_none(actual, expected, where, options):
    if actual is not expected:
        raise Different(AssertionError, f"None mismatch: {actual} is not {expected}", where)


def _compare_bools(actual, expected, where, options):
    if bool(actual) is not bool(expected):
        raise Different(AssertionError, f"Booleans mismatch: {bool(actual)} is not {bool(expected)}", where)


def _compare_numbers(actual, expected, where, options):
    actual, expected = [x.item() if isinstance(x, np.number) else x for x in (actual, expected)]
    rtol, atol = _tolerances(options, [dt.of_number(x) if not isinstance(x, (float, complex)) else (
        dt.complex128 if isinstance(x, complex) else dt.float64) for x in (actual, expected)], where)
    if options["check_dtype"] and type(actual) is not type(expected):
        raise Different(AssertionError, f"The (d)types do not match: {type(actual)} != {type(expected)}.", where)
    near = actual == expected or math.isfinite(abs(actual)) and math.isfinite(abs(expected)) and (
        abs(actual - expected) <= atol + rtol * abs(expected)) or options["equal_nan"] and (
        actual != actual and expected != expected)  # noqa: PLR0124 (NaN)
    if not near:
        raise Different(AssertionError, _scalars(actual, expected, rtol, atol), where)


def _scalars(actual, expected, rtol, atol):
    size = abs(actual - expected)
    relative = float("inf") if expected == 0 else size / abs(expected)
    return _text("Scalars", f"Expected {expected} but got {actual}.", (size, None), (relative, None), rtol, atol)


def _text(what, extra, absolute, relative, rtol, atol):
    exact = rtol == 0 and atol == 0
    lines = [f"{what} are not {'equal' if exact else 'close'}!\n", extra]
    for name, (size, place), most in (("absolute", absolute, atol), ("relative", relative, rtol)):
        begin = f"{name.title()} difference: {size}"
        begin = begin if place is None else f"Greatest {begin.lower()} at index {place}"
        lines.append(begin + ("" if exact else f" (up to {most} allowed)"))
    return "\n".join(lines)


def _compare_tensors(a, e, where, options):
    rtol, atol = _tolerances(options, (a.dtype, e.dtype), where)
    for name, asked in (("shape", True), ("device", options["check_device"]), ("dtype", options["check_dtype"])):
        x, y = getattr(a, name), getattr(e, name)
        if asked and x != y:
            raise Different(AssertionError, f"The values for attribute '{name}' do not match: {x} != {y}.", where)
    if options["check_stride"] and a.stride() != e.stride():
        raise Different(AssertionError, f"The values for attribute 'stride()' do not match: {a.stride()} != {e.stride()}.",
                        where)
    a, e = a.detach().cpu(), e.detach().cpu()
    if a.dtype is not e.dtype:
        common = dt.promote_types(a.dtype, e.dtype)
        a, e = a.to(common), e.to(common)
    near = REGISTRY["isclose"].callable(a, e, rtol=rtol, atol=atol, equal_nan=options["equal_nan"])
    if not near.all().item():
        text = _scalars(a.item(), e.item(), rtol, atol) if not a.shape and a._n == 1 else _tensors(a, e, near, rtol, atol)
        raise Different(AssertionError, text, where)


def _tensors(a, e, near, rtol, atol):
    wrong = int(near._n - near.sum().item())
    extra = f"Mismatched elements: {wrong} / {near._n} ({wrong / near._n:.1%})"
    shape = near.shape
    a, e, near = a.flatten(), e.flatten(), near.flatten()
    if a.dtype.category < 2:
        a, e = a.to(dt.int64), e.to(dt.int64)
    size = (a - e).abs()
    size = size.masked_fill(near, 0)
    relative = (size / e.abs()).masked_fill(near, 0)
    return _text("Tensor-likes", extra, _most(size, shape), _most(relative, shape), rtol, atol)


def _most(differences, shape):
    """The largest, and its place in the shape."""
    value, place = differences.max(0)
    return value.item(), tuple([int(i) for i in np.unravel_index(place.item(), shape)])


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan=True, msg=""):
    """``assert_close`` without a look at dtypes and with looser tolerances; PyTorch advises ``assert_close``."""
    warnings.warn("`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. Please "
                  "use `torch.testing.assert_close()` instead. You can find detailed upgrade instructions in "
                  "https://github.com/pytorch/pytorch/issues/61844.", FutureWarning, stacklevel=user_level())
    actual = actual if isinstance(actual, Tensor) else tensor(actual)
    expected = expected if isinstance(expected, Tensor) else tensor(expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        rtol, atol = _loosest((actual.dtype, expected.dtype), OLDER)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False,
                 check_stride=False, msg=msg or None)


# --- random tensors ---

def make_tensor(*shape, dtype, device, low=None, high=None, requires_grad=False, noncontiguous=False, exclude_zero=False,
                memory_format=None):
    """A tensor of values drawn evenly from [low, high): -9 to 9 (10 for integers, 0 to 10 unsigned, bool both) by default."""
    if len(shape) == 1 and isinstance(shape[0], collections.abc.Sequence):
        shape = shape[0]
    shape, whole = tuple(shape), dtype.category < 2
    if noncontiguous and memory_format is not None:
        raise ValueError("The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
                         f"{noncontiguous=} and {memory_format=}")
    if requires_grad and whole:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    noncontiguous = noncontiguous and math.prod(shape) > 1
    if noncontiguous:
        shape = (*shape[:-1], 2 * shape[-1])
    low, high = _limits(low, high, dtype)
    if whole:
        result = REGISTRY["randint"].callable(low, high, shape, device=device, dtype=dtype)
    else:
        result = empty(shape, device=device, dtype=dtype)
        drawn = REGISTRY["view_as_real"].callable(result) if dtype.is_complex else result
        if high - low >= dt.finfo(dtype).max:
            drawn.uniform_(low / 2, high / 2).mul_(2)
        else:
            drawn.uniform_(low, high)
    if noncontiguous:
        result = result[..., 1::2]
    elif memory_format is not None:
        result = result.clone(memory_format=memory_format)
    if exclude_zero:
        result[result == 0] = 1 if whole else dt.finfo(dtype).tiny
    if not whole:
        result.requires_grad = requires_grad
    return result


def _limits(low, high, dtype):
    """The range to draw from: given or usual limits, as far as the dtype has them."""
    if dtype is dt.bool_:
        least, most, usual = 0, 2, (0, 2)
    elif dtype.category < 2:
        info = dt.iinfo(dtype)
        least, most, usual = info.min, info.max + (dtype is not dt.int64), (-9, 10)
    else:
        info = dt.finfo(dtype)
        least, most, usual = info.min, info.max, (-9, 9)
    low, high = usual[0] if low is None else low, usual[1] if high is None else high
    if any([isinstance(x, float) and math.isnan(x) for x in (low, high)]):
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low == high and dtype.category > 1:
        warnings.warn("Passing `low==high` to `torch.testing.make_tensor` for floating or complex types is deprecated since "
                      "2.1 and will be removed in 2.3. Use `torch.full(...)` instead.", FutureWarning, stacklevel=user_level())
    elif low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    elif high < least or low >= most:
        raise ValueError(f"The value interval specified by `low` and `high` is [{low}, {high}), but {dtype} only supports "
                         f"[{least}, {most})")
    low, high = (min(max(x, least), most) for x in (low, high))
    return (math.ceil(low), math.ceil(high)) if dtype.category < 2 else (low, high)
