"""The text of a tensor: ``repr``, ``str`` and ``set_printoptions``.

Everything here works on NumPy arrays and names, so it needs neither a device nor the Tensor class. A tensor with more
than ``threshold`` elements is cut to the edge items of every dimension first, and only that cut is read; for memory
which is slow to reach, fetch `summary_indices` of the shape yourself and pass the full shape with the cut array.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np

from ..base.dtypes import get_default_dtype

__all__ = [
    "get_printoptions",
    "is_summarized",
    "parameter_str",
    "printoptions",
    "set_printoptions",
    "summary_indices",
    "tensor_repr",
    "tensor_str",
]


PLAIN = set()  # classes whose objects print as "tensor(...)"


@dataclasses.dataclass
class _PrintOptions:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}
_options = _PrintOptions()


def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None):
    """Set how tensors are printed.

    precision: digits after the point (4). threshold: number of elements above which only the edges are shown (1000).
    edgeitems: items shown at each edge of a dimension (3). linewidth: characters in a line (80).
    profile: "default", "short" or "full", a set of the above which single arguments override.
    sci_mode: True or False forces scientific notation on or off; None, also when left out, chooses by the values.
    """
    changes = dict(_PROFILES.get(profile, ()))
    single = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changes.update((name, value) for name, value in single.items() if value is not None)
    for name, value in changes.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions():
    """Return the current options as a dictionary of `set_printoptions` arguments."""
    return dataclasses.asdict(_options)


@contextlib.contextmanager
def printoptions(**kwargs):
    """Context manager: `set_printoptions` of the given arguments, undone at the end."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


def is_summarized(shape):
    """Whether a tensor of this shape is printed by its edge items only."""
    return math.prod(shape) > _options.threshold


def summary_indices(shape):
    """Per dimension the indices which are printed, as integer arrays (all of them where the dimension is short)."""
    edge = _options.edgeitems
    return [
        np.arange(size) if size <= 2 * edge else np.concatenate([np.arange(edge), np.arange(size - edge, size)])
        for size in shape
    ]


class _Plain:
    """Formats integers and booleans, right-aligned."""

    def __init__(self, values):
        self.width = 1
        if values.size:
            extremes = values.min(), values.max()
            # False is the longer word, and the smaller value.
            self.width = max(len(str(value.item())) for value in extremes)

    def __call__(self, value):
        return str(value).rjust(self.width)


class _Float:
    """Formats real numbers: integers as ``1.``, else fixed or scientific notation, right-aligned.

    Zeros, infinities and NaN do not take part in choosing the notation or the width.
    """

    def __init__(self, values):
        self.width, self.spec, self.point = 1, ".0f", "."
        values = values.reshape(-1)
        values = values[np.isfinite(values) & (values != 0)]
        if not values.size:
            return
        sizes = np.abs(values).astype(np.float64)
        smallest, largest = sizes.min().item(), sizes.max().item()
        scientific = _options.sci_mode
        if scientific is None:
            scientific = largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
        if scientific:
            self.spec, self.point = f".{_options.precision}e", ""
        elif (values != np.ceil(values)).any():
            self.spec, self.point = f".{_options.precision}f", ""
        # Within one sign a text only grows towards the largest size and, where exponents have three digits, the
        # smallest, so these four values hold the widest text.
        candidates = []
        for part in (values[values > 0], values[values < 0]):
            if part.size:
                candidates += [part.min().item(), part.max().item()]
        self.width = max(len(self._text(value)) for value in candidates)

    def _text(self, value):
        text = format(value, self.spec)
        return text + self.point if math.isfinite(value) else text

    def __call__(self, value):
        return self._text(value).rjust(self.width)


class _Complex:
    """Formats complex numbers: real and imaginary parts each have a notation and width of their own."""

    def __init__(self, values):
        self.real, self.imag = _Float(values.real), _Float(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value):
        imag = self.imag(value.imag).lstrip() + "j"
        return self.real(value.real) + ("" if imag[0] == "-" else "+") + imag


def _formatter(values):
    if values.dtype.kind == "f":
        return _Float(values)
    return _Complex(values) if values.dtype.kind == "c" else _Plain(values)


def _lines(values, shape, indent, summarize, formatter):
    """Text of the nested list `values`, cut from a tensor of the given shape."""
    if not shape:
        return formatter(values)
    edge = _options.edgeitems
    cut = summarize and shape[0] > 2 * edge
    if len(shape) > 1:
        items = [_lines(value, shape[1:], indent + 1, summarize, formatter) for value in values]
        if cut:
            items.insert(edge, "...")
        return "[" + ("," + "\n" * (len(shape) - 1) + " " * (indent + 1)).join(items) + "]"
    items = [formatter(value) for value in values]
    if cut:
        items.insert(edge, " ..." if edge else "...")
    per_line = max(1, math.floor((_options.linewidth - indent) / (formatter.width + 2)))
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _contents(array, shape, indent):
    summarize = is_summarized(shape)
    if summarize and array.shape == shape and shape:
        array = array[np.ix_(*summary_indices(shape))]
    return _lines(array.tolist(), shape, indent, summarize, _formatter(array))


def _with_suffixes(text, suffixes, indent):
    """Append the suffixes, each on a line of its own where the line would become too long, and the bracket."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


def tensor_str(
    array,
    dtype_name,
    device="cpu",
    requires_grad=False,
    grad_fn_name=None,
    prefix="tensor(",
    indent=None,
    *,
    default_dtype_name="float32",
    shape=None,
):
    """Text of a tensor, as ``repr`` and ``str`` show it.

    array: the values in any layout; float16 and bfloat16 as float32; None on device "meta". dtype_name, device: what
    the suffixes show, for example "float32" and "cuda:0". grad_fn_name: name of the node that made the tensor, shown
    instead of requires_grad. indent: columns before continuation lines (the length of the prefix).
    default_dtype_name: the floating dtype which needs no suffix. shape: given on "meta", and when `array` is already
    cut to `summary_indices(shape)`.
    """
    shape = np.shape(array) if shape is None else tuple(shape)
    indent = len(prefix) if indent is None else indent
    suffixes = []
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    if device.startswith("meta"):
        contents = "..."
        suffixes.append(f"size={shape}")
        shown_dtype = dtype_name != default_dtype_name
    elif 0 in shape:
        contents = "[]"
        if len(shape) != 1:
            suffixes.append(f"size={shape}")
        shown_dtype = dtype_name != default_dtype_name
    else:
        contents = _contents(np.asarray(array), shape, indent)
        if not _options.edgeitems:
            suffixes.append(f"size={shape}")
        default_complex = "complex128" if default_dtype_name == "float64" else "complex64"
        shown_dtype = dtype_name not in (default_dtype_name, default_complex, "int64", "bool")
    if shown_dtype:
        suffixes.append(f"dtype=torch.{dtype_name}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + contents, suffixes, indent)


def tensor_repr(tensor):
    """Text of a Tensor; of more than ``threshold`` elements only those which are shown are read."""
    try:
        node = tensor.grad_fn
        grad_fn_name, requires_grad = None if node is None else type(node).__name__, tensor.requires_grad
    except RuntimeError:
        # A view made without recording and changed in place since then: asking for its node is the error.
        grad_fn_name, requires_grad = "Invalid", True
    text = tensor_str(
        _shown_values(tensor),
        tensor.dtype.name,
        str(tensor.device),
        requires_grad,
        grad_fn_name,
        "tensor(" if type(tensor) in PLAIN else f"{type(tensor).__name__}(",
        default_dtype_name=get_default_dtype().name,
        shape=tuple(tensor.shape),
    )
    return f"Parameter({text})" if "_is_param" in tensor.__dict__ else text


def _shown_values(tensor):
    if tensor.is_meta:
        return None
    if not tensor.numel():
        return np.empty(0, np.float32)  # NumPy has no shapes like (0, 2**62)
    array = (tensor.detach().cpu() if tensor.is_cuda else tensor).array()
    if is_summarized(array.shape) and array.ndim:
        array = array[np.ix_(*summary_indices(array.shape))]
    if tensor.dtype.name == "float16":
        return array.view(np.float16).astype(np.float32)
    if tensor.dtype.name == "bfloat16":
        # bfloat16 is the upper half of a float32.
        return np.left_shift(array, 16, dtype=np.uint32).view(np.float32)
    return array


def parameter_str(text):
    """Text of a Parameter whose tensor prints as `text`."""
    return "Parameter containing:\n" + text
