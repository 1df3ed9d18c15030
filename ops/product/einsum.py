"""``einsum``: sums of products by labelled dimensions, contracted pair by pair with batched matrix products."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from .recipe import Recipe, Recipes

DOTS = object()  # stands for the ellipsis in a list of labels


def _subscripts(text, operand=None):
    """Labels of one operand (or the output): a list of letters and ``DOTS``."""
    labels, i = [], 0
    where = "the output" if operand is None else f"operand {operand}"
    while i < len(text):
        c = text[i]
        if c == " ":
            i += 1
        elif c == ".":
            if DOTS in labels:
                raise RuntimeError(f"einsum(): found '.' for {where} for which an ellipsis was already found")
            if text[i:i + 3] != "...":
                raise RuntimeError(f"einsum(): found '.' for {where} that is not part of any ellipsis")
            labels.append(DOTS)
            i += 3
        elif c.isascii() and c.isalpha():
            labels.append(c)
            i += 1
        else:
            raise RuntimeError(f"einsum(): invalid subscript given at index {i} in the equation string, subscripts must be in "
                               "[a-zA-Z]")
    return labels


def _parse(equation, count):
    """(labels of every operand, labels of the output or None)."""
    equation = arguments.check_str(equation, "einsum", "equation", 1)
    left, arrow, right = equation.partition("->")
    parts = left.split(",")
    if len(parts) > count:
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(parts) < count:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    # Positions in messages count from the start of the equation.
    labels, at = [], 0
    for i, part in enumerate(parts):
        try:
            labels.append(_subscripts(part, i))
        except RuntimeError as e:
            found = str(e)
            if at and "index" in found:
                k = int(found.split("index ")[1].split(" ")[0])
                e = RuntimeError(found.replace(f"index {k} ", f"index {k + at} "))
            raise e from None
        at += len(part) + 1
    return labels, _subscripts(right) if arrow else None


def _sublists(args):
    """The form ``einsum(op1, [0, 1], op2, [1, 2], [0, 2])`` as (operands, labels, output labels)."""
    def letters(sub):
        out = []
        for s in sub:
            if s is Ellipsis:
                out.append(DOTS)
            elif 0 <= s < 52:
                out.append("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[s])
            else:
                raise ValueError(f"einsum(): not within the valid range [0, 52): subscript {s}")
        return out
    operands, labels = list(args[0:len(args) // 2 * 2:2]), [letters(s) for s in args[1::2][:len(args) // 2]]
    return operands, labels, letters(args[-1]) if len(args) % 2 else None


def _resolve(operands, labels, output):
    """Give the ellipsis dimensions labels of their own and check sizes; returns (labels, output, size by label)."""
    width = 0
    for i, (t, ls) in enumerate(zip(operands, labels)):
        n = len(t._shape)
        named = len([x for x in ls if x is not DOTS])
        if DOTS in ls:
            if named > n:
                raise RuntimeError(f"einsum(): the number of subscripts in the equation ({named}) is more than the number of "
                                   f"dimensions ({n}) for operand {i}")
            width = max(width, n - named)
        elif named != n:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({named}) does not match the number of "
                               f"dimensions ({n}) for operand {i} and no ellipsis was given")
    sizes, full = {}, []
    for i, (t, ls) in enumerate(zip(operands, labels)):
        own = len(t._shape) - (len(ls) - 1)
        row = [x for label in ls for x in (range(width - own, width) if label is DOTS else (label,))]
        seen = {}
        for label, s in zip(row, t._shape):
            if label in seen and seen[label] != s:
                raise RuntimeError(f"einsum(): subscript {label} is repeated for operand {i} but the sizes don't match, {s} "
                                   f"!= {seen[label]}")
            seen[label] = s
        for label, s in seen.items():
            known = sizes.get(label, 1)
            if s != 1 and known not in (1, s):
                name = "'...'" if isinstance(label, int) else label
                raise RuntimeError(f"einsum(): subscript {name} has size {s} for operand {i} which does not broadcast with "
                                   f"previously seen size {known}")
            sizes[label] = max(known, s) if s else s
        full.append(row)
    if output is None:
        counts = [x for row in full for x in row]
        out = [*range(width), *sorted({x for x in counts if isinstance(x, str) and counts.count(x) == 1})]
    else:
        out = []
        for label in output:
            if label is DOTS:
                out += range(width)
                continue
            if label in out:
                raise RuntimeError(f"einsum(): output subscript {label} appears more than once in the output")
            if label not in sizes:
                raise RuntimeError(f"einsum(): output subscript {label} does not appear in the equation for any input operand")
            out.append(label)
    return full, out, sizes


def _diagonals(r, t, row):
    """Repeated labels of one operand become the diagonal."""
    for label in [x for x in dict.fromkeys(row) if row.count(x) > 1]:
        while row.count(label) > 1:
            i = row.index(label)
            j = row.index(label, i + 1)
            t = r.diagonal(t, i, j)
            row = [x for k, x in enumerate(row) if k not in (i, j)] + [label]
    return t, row


def _sum_out(r, t, row, gone):
    dims = [i for i, x in enumerate(row) if x in gone]
    return r.sum(t, dims), [x for x in row if x not in gone]


def _order(r, t, row, wanted):
    """Dimensions in the order ``wanted``, which has the same labels."""
    return r.permute(t, [row.index(x) for x in wanted])


def _pair(r, a, la, b, lb, keep, wanted):
    """Product of two operands, summed over the labels that nothing else needs."""
    shared = [x for x in la if x in lb]
    # A size of 1 broadcasts, so it is no true contraction: sum the other side first.
    sizes_a, sizes_b = dict(zip(la, a._shape)), dict(zip(lb, b._shape))
    loose = [x for x in shared if sizes_a[x] != sizes_b[x] and x not in keep]
    for x in loose:
        if sizes_a[x] == 1:
            b, lb = _sum_out(r, b, lb, [x])
            a, la = _squeezed(r, a, la, x)
        else:
            a, la = _sum_out(r, a, la, [x])
            b, lb = _squeezed(r, b, lb, x)
    a, la = _sum_out(r, a, la, [x for x in la if x not in lb and x not in keep])
    b, lb = _sum_out(r, b, lb, [x for x in lb if x not in la and x not in keep])
    shared = [x for x in la if x in lb]
    summed = [x for x in shared if x not in keep]
    batch = [x for x in shared if x in keep]
    rows, columns = [x for x in la if x not in shared], [x for x in lb if x not in shared]
    if not summed:
        # An outer or elementwise product.
        labels = [*batch, *rows, *columns]
        labels = wanted if sorted(map(str, labels)) == sorted(map(str, wanted)) else labels
        out = r.multiply(_aligned(r, a, la, labels), _aligned(r, b, lb, labels))
        return (out if labels else r.view(out, ())), labels
    sa, sb = dict(zip(la, a._shape)), dict(zip(lb, b._shape))
    m, k, n = [sa[x] for x in rows], [sa[x] for x in summed], [sb[x] for x in columns]
    sizes = [max(sa[x], sb[x]) for x in batch]
    a, b = _order(r, a, la, [*batch, *rows, *summed]), _order(r, b, lb, [*batch, *summed, *columns])
    if any(sa[x] != sb[x] for x in batch):
        a, b = (r.expand(t, (*sizes, *t._shape[len(batch):])) for t in (a, b))
    if batch:
        count = numel(sizes)
        out = r.bmm(r.reshape(a, (count, numel(m), numel(k))), r.reshape(b, (count, numel(k), numel(n))))
    else:
        out = r.matrices(a, b, m, k, n)
    return r.view(out, (*sizes, *m, *n)), [*batch, *rows, *columns]


def _squeezed(r, t, row, label):
    i = row.index(label)
    return r.squeeze(t, i), row[:i] + row[i + 1:]


def _aligned(r, t, row, labels):
    """Dimensions in the order of ``labels``, with size 1 where the operand lacks one."""
    t = _order(r, t, row, [x for x in labels if x in row])
    sizes = iter(t._shape)
    return r.reshape(t, [next(sizes) if x in row else 1 for x in labels])


def _reference(equation, *operands):
    return np.einsum(equation, *operands)


@function(method=False, reference=_reference, dtypes="any", shown="equation, *operands", samples=(
    Sample("ij,jk->ik", (2, 3), (3, 4)), Sample("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), Sample("ii->i", (3, 3)),
    Sample("ij->ji", (2, 3)), Sample("i,j->ij", (2,), (3,)), Sample("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    Sample("...ij,...jk->...ik", (2, 3, 4), (2, 4, 2)), Sample("ij,ij->", (2, 3), (2, 3)),
    Sample("bn,anm,bm", (2, 3), (4, 3, 2), (2, 2))))
def einsum(*args):
    """Sum of products of ``operands`` by the labels of ``equation`` ("ij,jk->ik"), or by lists of numbers after each operand.

    Labels on the left of ``->`` that are missing on the right are summed; without ``->`` the labels that appear once
    remain, in alphabetical order; ``...`` stands for dimensions that broadcast."""
    if args and args[0].__class__ is str:
        operands = args[1:]
        if len(operands) == 1 and operands[0].__class__ in (list, tuple):
            operands = operands[0]
        try:
            recipe = _recipes.get((args[0], *[t._shape for t in operands]))
        except AttributeError:
            recipe = None
        if recipe is not None:
            return recipe(*operands)
    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and "
                         "its subscripts list")
    if isinstance(args[0], Tensor):
        operands, labels, output = _sublists(args)
    else:
        operands = args[1:]
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = operands[0]
        operands = list(operands)
        labels, output = _parse(args[0], len(operands))
    for i, t in enumerate(operands):
        if not isinstance(t, Tensor):
            raise arguments.wrong(t, "Tensor", "einsum", "operands", i + 2)
    shapes = [t._shape for t in operands]
    recipe = _steps(operands, labels, output)
    if isinstance(args[0], str):
        _recipes.keep((args[0], *shapes), recipe)
    return recipe(*operands)


def _steps(operands, labels, output):
    """The recipe for operands with these labels."""
    rows, out, _ = _resolve(operands, labels, output)
    r = Recipe([t._shape for t in operands])
    terms = [_diagonals(r, t, row) for t, row in zip(r.terms, rows)]
    current, row = terms[0]
    if len(terms) == 1:
        gone = [x for x in row if x not in out]
        order = tuple([row.index(x) for x in out + gone])
        moved = r.step(REGISTRY["permute"].callable, (current,), order, [current._shape[i] for i in order])
        _sum_out(r, moved, out + gone, gone)
        return r
    for i, j in _path(terms, out) if len(terms) > 2 else ((0, 1),):
        (a, la), (b, lb) = terms[i], terms[j]
        terms = [term for k, term in enumerate(terms) if k not in (i, j)]
        later = {x for _, labels_ in terms for x in labels_}
        current, row = _pair(r, a, la, b, lb, later | set(out), out)
        terms.append((current, row))
    if row != out:
        r.reshaped(_order(r, current, row, out), [current._shape[row.index(x)] for x in out])
    return r


def _path(terms, out):
    """Pairs to contract one after the other, each result being appended: the cheapest order for up to six operands."""
    letters = {x: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[k]
               for k, x in enumerate(dict.fromkeys(x for _, row in terms for x in row))}
    text = ",".join(["".join([letters[x] for x in row]) for _, row in terms]) + "->" + "".join([letters[x] for x in out])
    shapes = [np.broadcast_to(np.int8(0), t._shape) for t, _ in terms]
    path, _ = np.einsum_path(text, *shapes, optimize="optimal" if len(terms) <= 6 else "greedy")
    for places in path[1:]:
        *first, last = sorted(places)
        count = len(terms)
        for place in reversed(first):  # more than two at once, pair by pair
            yield place, last
            count -= 1
            last = count - 1
        terms = range(count)


_recipes = Recipes()  # by the equation and the operands' shapes
