"""Hinge losses: inputs of a row's own classes shall exceed those of the others by a margin.

A row's sum is one op with one kernel, and so is its gradient."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.node import renamed
from numbagrad.extend import Sample, T, custom, function, load, store
from numbagrad.kernel import tape
from numbagrad.kernel.jit import accumulate, kernel

from ..refusal import constant
from .losses import SPACE, _reduce
from .reductions import finish, legacy, reduction_code

LABELS = np.array([[3, 0, -1, 1], [1, -1, 2, 3], [-1, 0, 0, 0]])


def _raises(text):
    def refuse(row):
        raise RuntimeError(text)
    return tape.Flag(refuse)


_no_class, _no_label = _raises("target out of range"), _raises("argument #2 'target' is out of range")


def _at(t):
    return 0 if t is None else t._ptr


# --- one own class ---

@kernel
def margin_rows(x: "*T", target: "*i8", w: "*T", out: "*T", found: "*i8", n: int, squared: int, weighted: int, margin: float,
                start: int, stop: int):
    """The mean of what each row of x (rows, n) lacks of the margin, or of its square, into out (rows,), times w (n,) of the
    own class, which int64 target (rows,) names; found (1,), of int64, gets a row without one."""
    for row in range(start, stop):
        own, base, total = target[row], row * n, T(0)
        if own < 0 or own >= n:
            found[0] = row
            continue
        v = T(margin) - load(x[base + own])
        for j in range(n):
            z = v + load(x[base + j])
            z = z if (z > T(0)) & (j != own) else T(0)
            total = accumulate(total, z * z if squared else z)
        out[row] = store(total * load(w[own]) / T(n) if weighted else total / T(n))


@kernel
def margin_slopes(g: "*T", x: "*T", target: "*i8", w: "*T", out: "*T", n: int, squared: int, weighted: int, margin: float,
                  start: int, stop: int):
    """The gradient of ``margin_rows`` into out (rows, n), of g (rows,), for x (rows, n), int64 target (rows,) and w (n,)."""
    for row in range(start, stop):
        own, base, total = target[row], row * n, T(0)
        v = T(margin) - load(x[base + own])
        share = load(g[row]) / T(n)
        share = share * load(w[own]) if weighted else share
        for j in range(n):
            z = v + load(x[base + j])
            d = T(2) * z * share if squared else share
            d = d if (z > T(0)) & (j != own) else T(0)
            out[base + j] = store(d)
            total = accumulate(total, d)
        out[base + own] = store(-total)


@custom(private=True, reference=None)
def margin_sums(input, target, weight, squared: bool, margin: float):
    """For each row the mean over the classes of max(0, margin - input[target] + input[class]), or of its square."""
    return target._shape, input._kind


@margin_sums.cpu
def _(out, input, target, weight, squared, margin):
    found, (rows, n) = _no_class.take(out._kind), input._shape
    margin_rows.run(out._kind, (input._ptr, target._ptr, _at(weight), out._ptr, found.address, n, squared, weight is not None,
                                margin), rows, input._n)
    found.check()


@margin_sums.gradient
def _(g, input, target, weight, squared, margin):
    if not (g._rg or input._rg):
        return margin_gradient.call(g, input, target, weight, squared, margin), None, None
    # The same in ops that have gradients.
    from numbagrad import arange, where
    n = input._shape[1]
    own = target.unsqueeze(1) == arange(n, device=input.device)
    z = margin - where(own, input, 0.0).sum(1, True) + input
    share = (g if weight is None else g * where(own, weight, 0.0).sum(1)).unsqueeze(1) / n
    slopes = where((z > 0) & ~own, 2 * z * share if squared else share, 0.0)
    return slopes - where(own, slopes.sum(1, True), 0.0), None, None


@custom(private=True, reference=None, differentiable=False)
def margin_gradient(g, input, target, weight, squared: bool, margin: float):
    """The gradient of ``margin_sums``."""
    return input._shape, input._kind


@margin_gradient.cpu
def _(out, g, input, target, weight, squared, margin):
    rows, n = input._shape
    margin_slopes.run(out._kind, (g._ptr, input._ptr, target._ptr, _at(weight), out._ptr, n, squared, weight is not None,
                                  margin), rows, input._n)


def _np_multi_margin(x, t, p=1, margin=1.0, weight=None, reduction="mean"):
    t = np.asarray(t)
    w = np.ones(x.shape[1]) if weight is None else np.asarray(weight)
    z = np.maximum(margin - np.take_along_axis(x, t[:, None], 1) + x, 0) ** p * w[t][:, None]
    z[np.arange(len(x)), t] = 0
    return _reduce(z.sum(1) / x.shape[1], reduction)


@function(kinds={"p": "number"}, **SPACE, reference=_np_multi_margin,
          samples=(Sample((3, 4), ("int64", (3,), 0, 4)), Sample((3, 4), ("int64", (3,), 0, 4), 2, reduction="none"),
                   Sample((3, 4), ("int64", (3,), 0, 4), 1, 0.5, np.array([0.5, 1.0, 2.0, 0.25]))))
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Sum over the other classes of max(0, margin - input[target] + input[class]) ** p, divided by their number."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    reduction_code(reduction)  # refuses what is none
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    shape = input._shape
    if len(shape) > 2 or shape and shape[-1] == 0:
        raise RuntimeError(f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(shape)}")
    single = len(shape) < 2
    rows = 1 if single else shape[0]
    if len(target._shape) > 1 or target._n != rows:
        raise RuntimeError("multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples "
                           f"(batch size). Expected target size [{rows}], but got {list(target._shape)}. Input has shape "
                           f"{list(shape)}.")
    x = input.reshape((1, input._n)) if single else input
    n = x._shape[1]
    if weight is not None and weight._n != n:
        raise RuntimeError(f"inconsistent weight size, expected {n} but got {list(weight._shape)}")
    if target._kind.dtype is not dt.int64:
        raise RuntimeError(f"expected scalar type Long but found {dt.scalar_name(target._kind.dtype)}")
    if weight is not None:
        constant("multi_margin_loss", "weight", weight)
        if weight._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"multi_margin_loss(): expected scalar type {dt.scalar_name(input._kind.dtype)} for the weight "
                               f"but found {dt.scalar_name(weight._kind.dtype)}")
    if input._kind.dtype.category != 2:
        raise NotImplementedError(f"\"multi_margin_loss_cpu_kernel\" not implemented for "
                                  f"'{dt.scalar_name(input._kind.dtype)}'")
    values = margin_sums.call(x, target.reshape((1,)) if single else target, weight, p == 2, dt.as_float(margin))
    values = values.reshape(()) if single else values
    return renamed(finish(values, reduction), "MultiMarginLossBackward0")


# --- several labels ---

@kernel
def label_rows(x: "*T", target: "*i8", out: "*T", own: "*u1", found: "*i8", n: int, start: int, stop: int):
    """For each row of x (rows, n) the mean of what its labels lack of a margin of 1 to the other classes, into out (rows,).

    The labels are those of int64 target (rows, n) before a negative one, and get a 1 in own (rows, n); found (1,), of
    int64, gets a row with a label that there is not."""
    for row in range(start, stop):
        base, labels, wrong, total = row * n, 0, 0, np.float64(0)
        for j in range(base, base + n):
            own[j] = 0
            wrong += 1 if target[j] < -1 or target[j] >= n else 0
        if wrong > 0:
            found[0] = row
            continue
        while labels < n and target[base + labels] >= 0:
            own[base + target[base + labels]] = 1
            labels += 1
        for k in range(labels):
            v, part = T(1) - x[base + target[base + k]], T(0)  # (float32 does not hold the sum of all labels')
            for j in range(base, base + n):
                z = v + x[j]
                part = accumulate(part, z if (z > T(0)) & (own[j] == 0) else T(0))
            total += part
        out[row] = T(total / n)


@kernel
def label_slopes(g: "*T", x: "*T", target: "*i8", own: "*u1", out: "*T", n: int, start: int, stop: int):
    """The gradient of ``label_rows`` into out (rows, n), of g (rows,), for x, int64 target and uint8 own, all (rows, n)."""
    for row in range(start, stop):
        base, share, k = row * n, g[row] / T(n), 0
        for j in range(base, base + n):
            out[j] = T(0)
        while k < n and target[base + k] >= 0:
            at, total = base + target[base + k], T(0)
            v = T(1) - x[at]
            for j in range(base, base + n):
                d = share if (v + x[j] > T(0)) & (own[j] == 0) else T(0)
                out[j] += d
                total = accumulate(total, d)
            out[at] -= total
            k += 1


@custom(private=True, reference=None)
def label_sums(input, target):
    """For each row the sums over labels and other classes, divided by the number of classes; which classes are labels."""
    return [(input._shape[:1], input._kind), (input._shape, storage.kind_of(dt.bool_, input._kind.device))]


@label_sums.cpu
def _(outs, input, target):
    (out, own), (rows, n) = outs, input._shape
    found = _no_label.take(out._kind)
    label_rows.run(out._kind, (input._ptr, target._ptr, out._ptr, own._ptr, found.address, n), rows, input._n * n)
    found.check()


@label_sums.gradient
def _(gs, input, target, y1):
    return label_gradient.call(gs[0], input, target, y1), None


@custom(private=True, reference=None)
def label_gradient(g, input, target, own):
    """The gradient of ``label_sums``."""
    return input._shape, input._kind


@label_gradient.cpu
def _(out, g, input, target, own):
    rows, n = input._shape
    label_slopes.run(out._kind, (g._ptr, input._ptr, target._ptr, own._ptr, out._ptr, n), rows, input._n * n)


@label_gradient.gradient
def _(g_, g, input, target, own, needs):
    slopes = label_gradient.call(g.new_ones(g._shape), input.detach(), target, own)
    return (g_ * slopes).sum(1), None, None, None


def _np_multilabel_margin(x, target, reduction="mean"):
    values = []
    for row, labels in zip(x, np.asarray(target)):
        end = list(labels).index(-1) if -1 in labels else len(labels)
        own = list(labels[:end])
        others = [i for i in range(len(row)) if i not in own]
        values.append(sum(max(0.0, 1 - row[j] + row[i]) for j in own for i in others) / len(row))
    return _reduce(np.array(values), reduction)


@function(**SPACE, reference=_np_multilabel_margin,
          samples=(Sample((3, 4), LABELS), Sample((3, 4), LABELS, reduction="none")))
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """Sum of max(0, 1 - input[label] + input[other]) over labels and other classes, divided by the number of classes.

    The labels of a row are those of ``target`` before its first -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    reduction_code(reduction)  # refuses what is none
    shape, d = input._shape, input._kind.dtype
    if len(shape) > 2 or shape and shape[-1] == 0:
        raise RuntimeError(f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(shape)}")
    if target._shape != shape and (len(shape) > 1 or target._n != input._n or len(target._shape) > 1):
        raise RuntimeError(f"inconsistent target size: {list(target._shape)} for input of size: {list(shape)}")
    if target._kind.dtype is not dt.int64:
        raise RuntimeError(f"expected scalar type Long but found {dt.scalar_name(target._kind.dtype)}")
    if d.name not in ("float32", "float64"):
        raise NotImplementedError(f"\"multilabel_margin_loss_forward_out_frame\" not implemented for '{dt.scalar_name(d)}'")
    n = shape[-1] if shape else 1
    x, t = (input, target) if len(shape) == 2 else (input.reshape((1, n)), target.reshape((1, n)))
    values = label_sums.call(x, t)[0]
    values = values if len(shape) == 2 else values.reshape(())
    return renamed(finish(values, reduction), "MultilabelMarginLossBackward0")
