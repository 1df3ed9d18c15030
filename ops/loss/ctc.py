"""Connectionist temporal classification: a sequence of labels anywhere in a longer sequence of outputs."""

from __future__ import annotations

import functools
import itertools

import numpy as np

import numbagrad
from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.creation import tensor
from numbagrad.core.node import renamed
from numbagrad.core.tensor import make
from numbagrad.dispatch.op import add_function
from numbagrad.extend import Sample, T, Tensor, custom, exp, function, inline, kernel, log
from numbagrad.kernel import tape

from .reductions import MEAN, NONE, SUM, reduction_code

# Labels with a blank before, between and after them are the states of a walk: state 2 i + 1 is label i. In every step it stays,
# goes on by one, or by two between different labels. ``meta`` holds (steps, labels, first label) of each sequence.
ALLOCATED = "(while checking arguments for ctc_loss_allocate_outputs)"


def _outside(label, classes):
    raise RuntimeError(f"ctc_loss: label {label} in targets is none of the {classes} classes")


_label = tape.Flag(lambda _, label, classes: _outside(label, classes), 3)


@inline
def log_sum(a, b, c):
    """log(exp(a) + exp(b) + exp(c))."""
    top = a if a > b else b
    top = top if top > c else c
    top = T(0) if top == T(-np.inf) else top
    return log(exp(a - top) + exp(b - top) + exp(c - top)) + top


@kernel
def walk_states(targets: "*i8", meta: "*i8", codes: "*i8", skips: "*T", found: "*i8", blank: int, classes: int, width: int,
                start: int, stop: int):
    """The class of each state into int64 codes (sequences, width), and what going there over the blank costs, 0 or minus
    infinity, into skips, from int64 targets and meta (sequences, 3); int64 found (3,) gets the first label out of range."""
    for n in range(start, stop):
        labels, first = meta[3 * n + 1], meta[3 * n + 2]
        for s in range(width):
            codes[n * width + s] = blank
            skips[n * width + s] = T(-np.inf)
        for i in range(labels):
            label = targets[first + i]
            if label < 0 or label >= classes:
                if found[0] < 1:
                    found[0] = 1
                    found[1] = label
                    found[2] = classes
                label = 0
            at = n * width + 2 * i + 1
            codes[at] = label
            if i > 0 and label != codes[at - 2]:
                skips[at] = T(0)


@kernel
def ctc_forward(x: "*T", meta: "*i8", codes: "*i8", skips: "*T", loss: "*T", alpha: "*T", sums: "*T", steps: int, batch: int,
                classes: int, walked: int, start: int, stop: int):
    """Minus the logarithm of the probability of each sequence into loss (batch,), and those of its beginnings into alpha
    (batch, steps, width) behind a place of minus infinity, from logarithms x (steps, batch, classes), int64 meta (batch, 3),
    int64 codes and skips (batch, width); sums (batch, width) is scratch."""
    width = walked + 3
    for n in range(start, stop):
        own, last = meta[3 * n], 2 * meta[3 * n + 1]
        base, c = n * steps * width + 1, n * width
        for i in range(base - 1, base - 1 + steps * width):
            alpha[i] = T(-np.inf)
        if own == 0:
            loss[n] = T(-0.0) if last == 0 else T(np.inf)
            continue
        for s in range(min(last, 1) + 1):
            alpha[base + s] = x[n * classes + codes[c + s]]
        for t in range(1, own):
            row, before = base + t * width, base + (t - 1) * width
            p = (t * batch + n) * classes
            sums[c] = alpha[before]
            # Into memory of its own: what is written where it is read is not done in vectors.
            for s in range(1, walked + 1):
                sums[c + s] = log_sum(alpha[before + s], alpha[before + s - 1], alpha[before + s - 2] + skips[c + s])
            for s in range(walked + 1):
                alpha[row + s] = x[p + codes[c + s]] + sums[c + s]
        end = base + (own - 1) * width + last
        loss[n] = -(log_sum(alpha[end], alpha[end - 1], T(-np.inf)) if last > 0 else alpha[end])


@kernel
def ctc_gradient(g: "*T", x: "*T", meta: "*i8", codes: "*i8", skips: "*T", loss: "*T", alpha: "*T", beta: "*T", sums: "*T",
                 taken: "*T", dx: "*T", steps: int, batch: int, classes: int, walked: int, drop: int, start: int, stop: int):
    """Gradient of ``ctc_forward`` by x into dx, both (steps, batch, classes), from g (batch,), what that took, int64 meta
    (batch, 3), int64 codes and skips (batch, width), and what it made, loss (batch,) and alpha (batch, steps, width); beta,
    sums and taken (batch, width) are scratch; with ``drop`` sequences that are impossible have none."""
    width = walked + 3
    for n in range(start, stop):
        own, last = meta[3 * n], 2 * meta[3 * n + 1]
        base, c = n * steps * width + 1, n * width
        nll, upstream = loss[n], g[n]
        counted = 0 if drop and nll == T(np.inf) else own
        for t in range(counted, steps):
            p = (t * batch + n) * classes
            for k in range(p, p + classes):
                dx[k] = T(0)
        for s in range(c, c + width):
            beta[s] = T(-np.inf)
        for t in range(counted - 1, -1, -1):
            row, p = base + t * width, (t * batch + n) * classes
            for k in range(p, p + classes):
                dx[k] = T(0)
            for s in range(walked + 1):
                taken[c + s] = x[p + codes[c + s]]
            if t == counted - 1:
                for s in range(max(last - 1, 0), last + 1):
                    beta[c + s] = taken[c + s]
            else:
                sums[c + walked] = beta[c + walked]
                for s in range(c, c + walked):
                    sums[s] = log_sum(beta[s], beta[s + 1], beta[s + 2] + skips[s + 2])
                for s in range(c, c + walked + 1):
                    beta[s] = taken[s] + sums[s]
            # How probable it is to be in each state at this step.
            for s in range(walked + 1):
                sums[c + s] = exp(alpha[row + s] + beta[c + s] + nll - taken[c + s])
            if t == counted - 1:  # one of two states that end it; a label that is the blank hides the other, as in PyTorch
                dx[p + codes[c + last]] = sums[c + last]
                if last > 0:
                    dx[p + codes[c + last - 1]] = sums[c + last - 1]
            else:
                for s in range(last + 1):
                    dx[p + codes[c + s]] += sums[c + s]
            for k in range(p, p + classes):
                # What is infinite has no gradient: NaN, as in PyTorch.
                dx[k] = (exp(x[k]) - dx[k] + (nll - nll) + (x[k] - x[k])) * upstream


# --- ops ---

@functools.lru_cache(1024)
def _table(words):
    """Numbers that a kernel reads, and their array."""
    array = np.array(words, np.int64)
    storage.table(array)
    return array


def _walked(kind, last):
    """How many states behind the first are walked through: whole vectors of them on the CPU."""
    return -(-last // 16) * 16 if kind.cpu and last > 8 else last


def _walk(log_probs, targets, meta, walked, blank):
    """(address of ``meta`` for kernels, classes of the states, costs of going over blanks)."""
    kind, (_, batch, classes) = log_probs._kind, log_probs._shape
    codes = make((batch, walked + 3), storage.kind_of(dt.int64, kind.device))
    skips, words, table = make((batch, walked + 3), kind), _label.take(kind), kind.host(_table(meta))
    walk_states.run(kind, (targets._ptr, table, codes._ptr, skips._ptr, words.address, blank, classes, walked + 3), batch,
                    codes._n)
    words.check()
    return table, codes, skips


@custom(private=True, node="CtcLossBackward0", reference=None)
def ctc_values(log_probs, targets, meta: tuple, walked: int, blank: int, drop: bool):
    """Losses (N,) of sequences and the logarithms of what begins them, for the gradient."""
    steps, batch, _ = log_probs._shape
    return [((batch,), log_probs._kind), ((batch, steps, walked + 3), log_probs._kind)]


@ctc_values.cpu
def _(outs, log_probs, targets, meta, walked, blank, drop):
    table, codes, skips = _walk(log_probs, targets, meta, walked, blank)
    loss, alpha = outs
    sums = make(skips._shape, loss._kind)
    ctc_forward.run(loss._kind, (log_probs._ptr, table, codes._ptr, skips._ptr, loss._ptr, alpha._ptr, sums._ptr,
                                 *log_probs._shape, walked), loss._n, 4 * alpha._n)


@ctc_values.gradient
def _(g, log_probs, targets, y0, y1, meta, walked, blank, drop):
    return ctc_back(g, log_probs, targets, y0, y1, meta, walked, blank, drop), None


@custom(private=True, reference=None)
def ctc_back(upstream, log_probs, targets, loss, alpha, meta: tuple, walked: int, blank: int, drop: bool):
    """Gradient of ``ctc_values`` by the logarithms of the probabilities."""
    return log_probs._shape, log_probs._kind


@ctc_back.cpu
def _(out, upstream, log_probs, targets, loss, alpha, meta, walked, blank, drop):
    table, codes, skips = _walk(log_probs, targets, meta, walked, blank)
    beta, sums, taken = [make(skips._shape, loss._kind) for _ in range(3)]
    ctc_gradient.run(out._kind, (
        upstream._ptr, log_probs._ptr, table, codes._ptr, skips._ptr, loss._ptr, alpha._ptr, beta._ptr, sums._ptr,
        taken._ptr, out._ptr, *log_probs._shape, walked, drop), loss._n, 8 * alpha._n)


@ctc_back.gradient
def _(g):
    raise RuntimeError("derivative for aten::_ctc_loss_backward is not implemented")


# --- arguments ---

def _refuse_types(*given):
    names = ", ".join([type(v).__name__ for v in given])
    raise TypeError(f"ctc_loss() received an invalid combination of arguments - got ({names}), but expected (Tensor log_probs, "
                    "Tensor targets, and input_lengths and target_lengths, both tuples of ints or both Tensors)")


def _numbers(lengths, name):
    if not isinstance(lengths, Tensor):
        return arguments.check_list_of_ints(lengths, "ctc_loss", name, 3 if name == "input_lengths" else 4)
    if lengths._kind.dtype.category != 1:
        raise RuntimeError(f"{name} must be integral")
    return tuple(lengths.reshape((-1,)).tolist())


def _lengths(log_probs, targets, input_lengths, target_lengths):
    """The lengths as tuples of ints."""
    kinds = [isinstance(v, Tensor) for v in (input_lengths, target_lengths)]
    some = isinstance(input_lengths, (tuple, list)) and isinstance(target_lengths, (tuple, list))
    if not isinstance(log_probs, Tensor) or not isinstance(targets, Tensor) or not (all(kinds) or some and not any(kinds)):
        _refuse_types(log_probs, targets, input_lengths, target_lengths)
    return _numbers(input_lengths, "input_lengths"), _numbers(target_lengths, "target_lengths")


def _check(x, targets, blank, steps, labels):
    """PyTorch's complaints, in its order."""
    if not x._n:
        raise RuntimeError("log_probs tensor must not be empty")
    if x._kind.dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{dt.scalar_name(x._kind.dtype)}'")
    if len(x._shape) != 3:
        raise RuntimeError(f"Expected 3-dimensional tensor, but got {len(x._shape)}-dimensional tensor for argument #1 "
                           f"'log_probs' {ALLOCATED}")
    t = targets._shape
    if len(t) not in (1, 2):
        raise RuntimeError(f"Expected 1 to 2 dimensions, but got {len(t)}-dimensional tensor for argument #2 'targets' "
                           f"{ALLOCATED}")
    batch = x._shape[1]
    if not 0 <= blank < x._shape[2]:
        raise RuntimeError("blank must be in label range")
    for lengths, name in ((steps, "input_lengths"), (labels, "target_lengths")):
        if len(lengths) != batch:
            raise RuntimeError(f"{name} must be of size batch_size")
    for v in labels:
        if v < 0:
            raise RuntimeError(f"Expected target_lengths to have value at least 0, but got value {v} {ALLOCATED}")
    wanted = sum(labels) if len(t) == 1 else batch
    if t[0] != wanted:
        raise RuntimeError(f"Expected tensor to have size {wanted} at dimension 0, but got size {t[0]} for argument #2 "
                           f"'targets' {ALLOCATED}")
    if len(t) == 2 and t[1] < max(labels):
        raise RuntimeError(f"Expected tensor to have size at least {max(labels)} at dimension 1, but got size {t[1]} for "
                           f"argument #2 'targets' {ALLOCATED}")
    for v in steps:
        if not 0 <= v <= x._shape[0]:
            bound = "at least 0" if v < 0 else f"at most {x._shape[0]}"
            raise RuntimeError(f"Expected input_lengths to have value {bound}, but got value {v} {ALLOCATED}")


def _loss(log_probs, targets, input_lengths, target_lengths, blank, code, zero_infinity):
    from numbagrad import where
    steps, labels = _lengths(log_probs, targets, input_lengths, target_lengths)
    alone = len(log_probs._shape) != 3
    x = log_probs.unsqueeze(1) if alone and log_probs._shape else log_probs
    _check(x, targets, blank, steps, labels)
    firsts = itertools.accumulate((0, *labels)) if len(targets._shape) == 1 else itertools.count(0, targets._shape[1])
    meta = tuple([v for row in zip(steps, labels, firsts) for v in row])
    targets = targets if targets._kind.dtype is dt.int64 else targets.long()
    values = ctc_values(x, targets, meta, _walked(x._kind, 2 * max(labels)), blank, zero_infinity)[0]
    if zero_infinity:
        values = where(values == float("inf"), 0.0, values)
    if code == MEAN:
        counts = [max(v, 1) for v in labels]
        return renamed((values / tensor(counts, dtype=values.dtype, device=values.device)).mean(), "MeanBackward0")
    return values.sum() if code == SUM else values.squeeze(0) if alone else values


def _reference(x, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """Sums over all walks of labels, and of their probabilities."""
    found = []
    for n, (steps, count) in enumerate(zip(input_lengths, target_lengths)):
        first = sum(target_lengths[:n])
        labels = [int(v) for v in (targets[n][:count] if np.ndim(targets) == 2 else targets[first:first + count])]
        total = 0.0
        for walk in itertools.product(range(x.shape[2]), repeat=steps):
            if [k for k, _ in itertools.groupby(walk) if k != blank] == labels:
                total += np.exp(sum(x[t, n, k] for t, k in enumerate(walk)))
        with np.errstate(divide="ignore"):
            found.append(-np.log(total))
    found = np.array(found)
    found = np.where(np.isinf(found), 0.0, found) if zero_infinity else found
    if reduction == "mean":
        return (found / np.maximum(target_lengths, 1)).mean()
    return found.sum() if reduction == "sum" else found


# The gradient is PyTorch's, right behind a log_softmax, which it is meant for: exp(log_probs) is in it. So differences do not
# find it (tests/ops/test_ctc.py).
@function(namespaces=("nn.functional",), method=False, reference=_reference, differentiable=False,
          kinds={"targets": "any", "input_lengths": "any", "target_lengths": "any", "reduction": "any"}, samples=(
    Sample((4, 2, 3), np.array([[1, 2], [2, 2]]), (4, 4), (2, 2), reduction="none"),
    Sample((4, 2, 3), np.array([1, 0, 1]), (4, 3), (1, 2), 2, "sum"), Sample((4, 1, 3), np.array([[1, 2]]), (3,), (2,))))
def ctc_loss(log_probs, targets, input_lengths: object, target_lengths: object, blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False):
    """Minus the logarithm of the probability that the classes, repetitions and then blanks left out, are ``targets``.

    ``log_probs`` (T, N, C) or (T, C) are logarithms of probabilities, ``targets`` (N, S) or all labels in a row, the lengths
    tuples or tensors. "mean" divides by the numbers of labels first; ``zero_infinity`` makes 0 of what is impossible."""
    return _loss(log_probs, targets, input_lengths, target_lengths, blank, reduction_code(reduction), zero_infinity)


def _by_number(log_probs, targets, input_lengths: object, target_lengths: object, blank: int = 0, reduction: int = 0,
               zero_infinity: bool = False):
    """``nn.functional.ctc_loss`` whose reduction is a number: 0 none (what PyTorch's parser takes for its default), 1 mean, 2
    sum."""
    code = reduction if reduction in (MEAN, SUM) else NONE
    return _loss(log_probs, targets, input_lengths, target_lengths, blank, code, zero_infinity)


_by_number.__name__ = _by_number.__qualname__ = "ctc_loss"
add_function(numbagrad, _by_number, targets="any", input_lengths="any", target_lengths="any", reduction="int")
