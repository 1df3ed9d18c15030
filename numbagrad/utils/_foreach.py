"""``_foreach_*``: one operation on every tensor of a list, or on the tensors of several lists side by side."""

from ..core.tensor import Tensor

_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma", "log",
    "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan",
    "tanh", "trunc",
)  # fmt: skip
# Name: the method, and whether one tensor may stand for all on the right side.
_BINARY = {
    "add": ("add", True), "sub": ("sub", False), "mul": ("mul", True), "div": ("div", True), "pow": ("pow", False),
    "clamp_max": ("clamp_max", False), "clamp_min": ("clamp_min", False),
    "maximum": ("clamp_min", False), "minimum": ("clamp_max", False),
}  # fmt: skip


def _tensors(name, given, where=1, called="self"):
    """The argument ``given`` as a list; TypeError if it is none of tensors, RuntimeError if it is empty."""
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"{name}(): argument '{called}' (position {where}) must be tuple of Tensors, not {type(given).__name__}"
        )
    for i, t in enumerate(given):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument {where - 1}, but got {type(t).__name__}")
    if not given and where == 1:
        raise RuntimeError("Tensor list must have at least one tensor.")
    return given


def _beside(name, first, given, where, called):
    """Another list of as many tensors."""
    given = _tensors(name, given, where, called)
    if len(given) != len(first):
        raise RuntimeError(f"Tensor lists must have the same number of tensors, got {len(first)} and {len(given)}")
    return given


def _scalars(first, given):
    if len(given) != len(first):
        raise RuntimeError("Tensor list must have same number of elements as scalar list.")
    return given


def _operands(name, first, other, broadcast, called="other"):
    """For each tensor of ``first`` what stands beside it: a number for all or for each, a tensor for each or for all."""
    if isinstance(other, Tensor):
        if not broadcast:
            return [other.item()] * len(first)
        if other.dim() != 0:
            raise RuntimeError(
                f"scalar tensor expected to be 0 dim but it has {other.dim()} dimensions and {other.numel()} elements."
            )
        return [other] * len(first)
    if not isinstance(other, (list, tuple)):
        return [other] * len(first)
    if other and isinstance(other[0], Tensor) or not first:
        return _beside(name, first, other, 2, called)
    return _scalars(first, other)


def _values(first, value):
    """A factor for each tensor: one number for all, a list, or a tensor of one dimension."""
    if isinstance(value, Tensor):
        if value.dim() != 1:
            raise RuntimeError(f"Expected packed scalar Tensor to be of dimension 1. Got {value.dim()} instead.")
        if len(value) != len(first):
            raise RuntimeError(
                f"Expected length of scalars to match input of length {len(first)} but got {len(value)} instead."
            )
        return value.tolist()
    return _scalars(first, value) if isinstance(value, (list, tuple)) else [value] * len(first)


def _unary(name, method):
    def run(self):
        return tuple([getattr(t, method)() for t in _tensors(name, self)])

    return run


def _binary(name, method, broadcast):
    def run(self, other):
        if method == "pow" and not isinstance(self, (list, tuple)):
            return tuple([t.__rpow__(self) for t in _tensors(name, other, 1, "exponent")])
        others = _operands(name, _tensors(name, self), other, broadcast)
        return tuple([getattr(t, method)(o) for t, o in zip(self, others)])

    return run


def _scaled_binary(name, method, broadcast):
    def run(self, other, *, alpha=1):
        others = _operands(name, _tensors(name, self), other, broadcast)
        if alpha == 1:
            return tuple([getattr(t, method)(o) for t, o in zip(self, others)])
        return tuple([getattr(t, method)(o, alpha=alpha) for t, o in zip(self, others)])

    return run


def _fused(name, method):
    def run(self, tensor1, tensor2, value=1):
        _tensors(name, self)
        lists = self, _beside(name, self, tensor1, 2, "tensor1"), _beside(name, self, tensor2, 3, "tensor2")
        return tuple([getattr(t, method)(a, b, value=v) for t, a, b, v in zip(*lists, _values(self, value))])

    return run


def _lerp(name, method):
    def run(self, tensors1, weight):
        ends = _beside(name, _tensors(name, self), tensors1, 2, "tensors1")
        weights = _operands(name, self, weight, False, "weights")
        return tuple([getattr(t, method)(e, w) for t, e, w in zip(self, ends, weights)])

    return run


def _in_place(run):
    """The function whose methods write: it returns the list that it was given."""

    def changed(self, *args, **kwargs):
        run(self, *args, **kwargs)
        return self

    return changed


def _norm(self, ord=2, dtype=None):
    from .. import linalg

    return tuple([linalg.vector_norm(t, ord, dtype=dtype) for t in _tensors("_foreach_norm", self)])


def _powsum(self, ord=2, dtype=None):
    sums = []
    for t in _tensors("_foreach_powsum", self):
        t = t if dtype is None else t.to(dtype)
        sums.append((t.abs() if ord == 1 else t.abs().pow(ord)).sum())
    return tuple(sums)


def _max(self):
    return tuple([t.max() for t in _tensors("_foreach_max", self)])


def _mm(self, mat2):
    return tuple([a @ b for a, b in zip(_tensors("_foreach_mm", self), _beside("_foreach_mm", self, mat2, 2, "mat2"))])


def _clone(self, *, memory_format=None):
    options = {} if memory_format is None else {"memory_format": memory_format}
    return tuple([t.clone(**options) for t in _tensors("_foreach_clone", self)])


def _copy_(self, src, non_blocking=False):
    for t, s in zip(_tensors("_foreach_copy_", self), _beside("_foreach_copy_", self, src, 2, "src")):
        t.copy_(s, non_blocking)
    return self


def _zero_(self):
    for t in _tensors("_foreach_zero_", self):
        t.zero_()
    return self


def _made():
    """{name: function} of all."""
    made = {"norm": _norm, "powsum": _powsum, "max": _max, "mm": _mm, "clone": _clone, "copy_": _copy_, "zero_": _zero_}
    for end, finished in (("", lambda run: run), ("_", _in_place)):
        for op in _UNARY:
            made[op + end] = finished(_unary("_foreach_" + op + end, op + end))
        for op, (method, broadcast) in _BINARY.items():
            kind = _scaled_binary if op in ("add", "sub") else _binary
            made[op + end] = finished(kind("_foreach_" + op + end, method + end, broadcast))
        for op in ("addcdiv", "addcmul"):
            made[op + end] = finished(_fused("_foreach_" + op + end, op + end))
        made["lerp" + end] = finished(_lerp("_foreach_lerp" + end, "lerp" + end))
    for op, run in made.items():
        run.__name__ = run.__qualname__ = "_foreach_" + op
    return {"_foreach_" + op: run for op, run in made.items()}


FUNCTIONS = _made()
