"""Classification losses over class indices: negative log-likelihood and cross entropy.

Cross entropy takes its logarithm of softmax, picks, smooths, weighs and averages in one kernel; backward is one more,
from the two numbers that forward keeps for each row.
"""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.node import renamed
from numbagrad.core.tensor import make, numel
from numbagrad.extend import Sample, custom, function
from numbagrad.kernel import tape
from numbagrad.kernel.jit import LANES, STRIP

from ..index.kernels import check_saved
from ..refusal import constant
from .cross_entropy_kernels import ce_columns, ce_gradient, ce_plain, ce_plain_gradient, ce_rows, nll, nll_gradient
from .reductions import MEAN, NONE, REDUCTIONS, legacy, reduction_code

F8 = storage.kind_of(dt.float64)
LABELS = ("int64", (3,), 0, 4)
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25])


def outside_classes(value, *_):
    raise IndexError(f"Target {value} is out of bounds.")


# Kernels leave a class index that is out of range here, negative ones less one.
_class = tape.Flag(lambda value: outside_classes(value if value >= 0 else value + 1))


# --- ops --------------------------------------------------------------------------------------------------------------

def _geometry(shape):
    """(rows, classes, inner) of scores (classes,), (rows, classes) or (rows, classes, ...)."""
    if len(shape) == 1:
        return 1, shape[0], 1
    return shape[0], shape[1], numel(shape[2:])


def _outputs(input, target, weight, reduction, numbers):
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"cross_entropy_loss\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    kind = F8 if input._kind.cpu else storage.kind_of(dt.float64, input._kind.device)
    return [(target._shape if reduction == NONE else (), input._kind), ((numbers * target._n + 1,), kind)]


def _check_target(shape, given):
    """PyTorch's complaint about class indices whose shape does not fit that of the scores."""
    if not given or shape[0] != given[0]:
        raise ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size ({given[0] if given else 0}).")
    if len(shape) == 2:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if len(shape) != 4:
        raise RuntimeError(f"Expected target size {[shape[0], *shape[2:]]}, got {list(given)}")
    if len(given) != 3:
        raise RuntimeError(f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {len(given)}")


def _check(input, target, weight):
    """PyTorch's complaints about scores, class indices and class weights that do not fit together."""
    shape, n = input._shape, len(input._shape)
    if n > 1 and target._shape != shape[:1] + shape[2:]:
        _check_target(shape, target._shape)
    elif n == 1 and len(target._shape) > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target._kind.dtype not in (dt.int64, dt.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {dt.scalar_name(target._kind.dtype)}")
    if n == 4 and target._shape[1:] != shape[2:]:
        raise RuntimeError(f"size mismatch (got input: {list(shape)} , target: {list(target._shape)}")
    if n == 1 and target._shape not in ((), (1,)):
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target._shape[0]}")
    classes = shape[0] if n == 1 else shape[1]
    if weight is not None:
        if len(weight._shape) != 1 or weight._n != classes:
            raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes but "
                               f"got weight tensor of shape: {list(weight._shape)}")
        if weight._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"expected scalar type {dt.scalar_name(input._kind.dtype)} but found "
                               f"{dt.scalar_name(weight._kind.dtype)}")
        constant("nll_loss_forward" if n <= 2 else "nll_loss2d_forward", "weight", weight)


def _nll_reference(x, t, weight=None, *, reduction, ignore_index):
    t = np.asarray(t)
    w = np.ones(x.shape[1]) if weight is None else np.asarray(weight)
    picked = -np.take_along_axis(x, t[:, None], 1)[:, 0] * w[t]
    return picked if reduction == NONE else picked.sum() / (w[t].sum() if reduction == MEAN else 1.0)


def _ce_reference(x, t, weight=None, *, reduction, ignore_index, label_smoothing):
    logp = x - x.max(1, keepdims=True)
    logp = logp - np.log(np.exp(logp).sum(1, keepdims=True))
    first = _nll_reference(logp, t, weight, reduction=reduction, ignore_index=ignore_index)
    w = (np.ones(x.shape[1]) if weight is None else np.asarray(weight)).reshape(-1, *[1] * (x.ndim - 2))
    even = -(logp * w).sum(1)
    t = np.asarray(t)
    if reduction != NONE:
        even = even.sum() / (w.reshape(-1)[t].sum() if reduction == MEAN else 1.0)
    return (1 - label_smoothing) * first + label_smoothing / x.shape[1] * even


class _Named:
    """``node_for`` that picks the name PyTorch prints, by the call's parameters."""

    def __init__(self, op):
        self.op, self.classes = op, {}

    def __call__(self, params):
        name = params[-1]
        cls = self.classes.get(name)
        if cls is None:
            base = self.op.node_class
            cls = self.classes[name] = base if name is None else type(name, (base,), {"__slots__": (),
                                                                                      "__module__": "numbagrad"})
        return cls


@custom(private=True, node="NllLossBackward0", reference=None, connected=True)
def nll_fused(input, target, weight=None, *, reduction: int, ignore_index: int, node_name: str = None):
    """Minus the picked entries, weighted; the second output is the sum of their weights."""
    return _outputs(input, target, weight, reduction, 0)


@nll_fused.cpu
def _(outs, input, target, weight, reduction, ignore_index, node_name):
    out, aux = outs
    rows, n, inner = _geometry(input._shape)
    bad = _class.take(input._kind)
    nll[input._kind](input._ptr, target._ptr, 0 if weight is None else weight._ptr, out._ptr, aux._ptr,
                     bad.address, n, inner, weight is not None, reduction, ignore_index, rows)
    bad.check()


@nll_fused.gradient
def _(g, shape, target, weight, y1, reduction, ignore_index):
    grad = nll_spread.call(g, target, weight, y1, shape=shape, reduction=reduction, ignore_index=ignore_index)
    return grad, None, None


@custom(private=True, node="NllLossBackwardBackward0", reference=None)
def nll_spread(upstream, target, weight, aux, *, shape: tuple, reduction: int, ignore_index: int):
    """Gradient of the negative log-likelihood: minus the upstream gradient times weight where the target is."""
    return shape, upstream._kind


@nll_spread.cpu
def _(out, upstream, target, weight, aux, shape, reduction, ignore_index):
    rows, n, inner = _geometry(shape)
    check_saved(target, n, fail=outside_classes, ignore=ignore_index)
    nll_gradient[out._kind](upstream._ptr, target._ptr, 0 if weight is None else weight._ptr, aux._ptr,
                            out._ptr, n, inner, weight is not None, reduction, ignore_index, rows)


@nll_spread.gradient
def _(g, target, weight, reduction, ignore_index):
    return nll_fused.call(g, target, weight, reduction=reduction, ignore_index=ignore_index)[0], None, None, None


nll_fused.node_for = _Named(nll_fused)


@custom(private=True, node="NllLossBackward0", reference=None, connected=True)
def cross_entropy_fused(input, target, weight=None, *, reduction: int, ignore_index: int, label_smoothing: float,
                        node_name: str = None):
    """Cross entropy with class indices; the second output is what backward needs: (maximum, log of the sum) per row."""
    return _outputs(input, target, weight, reduction, 2)


def _is_plain(kind, weight, label_smoothing, n, inner):
    return weight is None and label_smoothing == 0.0 and inner == 1 and 0 < n <= STRIP and kind.dtype.code in ("f4", "f8")


@cross_entropy_fused.cpu
def _(outs, input, target, weight, reduction, ignore_index, label_smoothing, node_name):
    out, aux = outs
    rows, n, inner = _geometry(input._shape)
    bad = _class.take(input._kind)
    if _is_plain(input._kind, weight, label_smoothing, n, inner):
        ce_plain[input._kind](input._ptr, target._ptr, out._ptr, aux._ptr, bad.address, n, reduction, ignore_index, rows)
        return bad.check()
    run = ce_rows if inner == 1 else ce_columns
    run[input._kind](input._ptr, target._ptr, 0 if weight is None else weight._ptr, out._ptr, aux._ptr,
                     bad.address, n, inner, weight is not None, reduction, ignore_index, label_smoothing,
                     rows * inner, 0, rows * -(-inner // LANES))
    bad.check()


@cross_entropy_fused.gradient
def _(g, input, target, weight, y1, reduction, ignore_index, label_smoothing):
    if g._rg or input._rg:
        return _composed_gradient(g, input, target, weight, reduction, ignore_index, label_smoothing), None, None
    g, input, target, weight = (t if t is None or t._strides is None else t.contiguous()
                                for t in (g, input, target, weight))
    rows, n, inner = _geometry(input._shape)
    out = make(input._shape, input._kind)
    check_saved(target, n, fail=outside_classes, ignore=ignore_index)
    if _is_plain(input._kind, weight, label_smoothing, n, inner):
        ce_plain_gradient.run(input._kind, (g._ptr, input._ptr, target._ptr, y1._ptr, out._ptr, n, reduction, ignore_index,
                                            rows), rows, out._n)
        return out, None, None
    ce_gradient.run(input._kind, (
        g._ptr, input._ptr, target._ptr, 0 if weight is None else weight._ptr, y1._ptr, out._ptr, n, inner,
        weight is not None, reduction, ignore_index, label_smoothing, rows * inner), rows * -(-inner // LANES), out._n)
    return out, None, None


cross_entropy_fused.node_for = _Named(cross_entropy_fused)


def _composed_gradient(g, input, target, weight, reduction, ignore_index, label_smoothing):
    """The same gradient from differentiable ops."""
    from numbagrad import arange, where

    from ..reduce.softmax import softmax_forward
    shape = input._shape
    at = 0 if len(shape) == 1 else 1
    n, kind = shape[at], input._kind
    spread = [1] * len(shape)
    spread[at] = n
    along = list(shape)
    along[at] = 1
    target = target.reshape(along)
    valid = target != ignore_index
    picked = (arange(n, device=kind.device).reshape(spread) == target) & valid
    valid = valid.to(dtype=kind.dtype)
    w = 1.0 if weight is None else weight.detach().reshape(spread)
    # Chosen, not multiplied by 0: an infinite weight concerns its class alone.
    minus = picked.to(dtype=kind.dtype) if weight is None else where(picked, w, 0.0)
    factor = minus.sum(at, True)
    # What is ignored has a zero gradient, even where weights of zero make that of others NaN.
    total = where(target != ignore_index, 1.0 / factor.sum(), 0.0) if reduction == MEAN else 1.0
    if label_smoothing:
        even = label_smoothing / n
        factor = factor * (1 - label_smoothing) + valid * (float(n) if weight is None else w.sum()) * even
        minus = minus * (1 - label_smoothing) + valid * w * even
    factor, minus = factor * total, minus * total
    g = g.reshape(along) if reduction == NONE else g
    return g * (factor * softmax_forward.call(input, at) - minus)


def _node_name(shape, reduction):
    if len(shape) <= 2:
        return None
    return "ViewBackward0" if len(shape) != 4 and reduction == NONE else "NllLoss2DBackward0"


def _public_reference(fused):
    def reference(x, t, weight=None, *, reduction="mean", ignore_index=-100, **more):
        if fused is _ce_reference:
            more.setdefault("label_smoothing", 0.0)
        return fused(x, t, weight, reduction=REDUCTIONS[reduction], ignore_index=ignore_index, **more)
    return reference


@function(namespaces=("nn.functional",), method=False, reference=_public_reference(_nll_reference),
          samples=(Sample((3, 4), LABELS), Sample((3, 4), LABELS, reduction="none"), Sample((3, 4), LABELS, WEIGHTS)))
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """Minus ``weight[target] * input[target]`` for log-probabilities (N, C, ...) and class indices (N, ...).

    "mean" divides the sum by the weights of the targets; rows whose target is ``ignore_index`` count nothing.
    IndexError for a target outside [0, C)."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    code = reduction_code(reduction)
    if not input._shape:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    _check(input, target, weight)
    target = _labels(target, input)
    return nll_fused.call(input, target, weight, reduction=code, ignore_index=ignore_index,
                          node_name=_node_name(input._shape, code))[0]


def _labels(target, input):
    if target._kind.dtype is not dt.int64:
        target = target.to(dtype=dt.int64)
    return target.reshape(()) if len(input._shape) == 1 and target._shape else target


@function(namespaces=("nn.functional",), method=False, reference=_public_reference(_ce_reference),
          samples=(Sample((3, 4), LABELS), Sample((3, 4), LABELS, reduction="sum", label_smoothing=0.1),
                   Sample((3, 4), LABELS, WEIGHTS, reduction="none")))
def cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
                  label_smoothing=0.0):
    """Cross entropy between scores (N, C, ...) and class indices (N, ...) or class probabilities (N, C, ...).

    -log(softmax(input))[target], weighted by ``weight``; ``label_smoothing`` mixes the target with the uniform
    distribution. "mean" divides by the weights of the targets. IndexError for a target outside [0, C)."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    code = reduction_code(reduction)
    shape = input._shape
    if not shape:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    if target._shape == shape and target._kind.dtype.category < 2:
        raise RuntimeError("Expected floating point type for target with class probabilities, got "
                           f"{dt.scalar_name(target._kind.dtype)}")
    if target._shape == shape and target._kind.dtype.category >= 2:
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        classes = shape[0] if len(shape) == 1 else shape[1]
        if weight is not None and weight._shape != (classes,):
            raise RuntimeError(f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes "
                               f"but got weight tensor of shape: {list(weight._shape)}")
        return _probabilities(input, target, weight, code, label_smoothing)
    _check(input, target, weight)
    if target._kind.dtype is not dt.int64 or len(shape) == 1:
        target = _labels(target, input)
    name = "AddBackward0" if label_smoothing else None if len(shape) <= 2 else _node_name(shape, code)
    return cross_entropy_fused.call(input, target, weight, reduction=code, ignore_index=ignore_index,
                                    label_smoothing=dt.as_float(label_smoothing), node_name=name)[0]


def _probabilities(input, target, weight, code, label_smoothing):
    """Cross entropy with a distribution over the classes as target."""
    from ..reduce.softmax import log_softmax_forward
    at = 0 if len(input._shape) == 1 else 1
    n = input._shape[at]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / n
    logp = log_softmax_forward.call(input, at) * target
    if weight is not None:
        spread = [1] * len(input._shape)
        spread[at] = n
        logp = logp * weight.reshape(spread)
    if code == NONE:
        return -logp.sum(at)
    return renamed(-logp.sum() / (input._n // n), "DivBackward1") if code == MEAN else -logp.sum()
