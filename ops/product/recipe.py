"""Compositions whose steps depend on shapes alone: found once for the shapes of a call, then repeated.

What finds the steps works on terms, which stand for tensors and know their shapes::

    r = Recipe([a._shape, b._shape])
    r.view(r.mm(*r.terms), shape)
    r(a, b)                             # the last step's result
"""

from __future__ import annotations

from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY

from ..view import shape as shapes
from .matmul import bmm, mm

MOST = 1024  # recipes of an op, after which all are forgotten


class Term:
    """A tensor that a recipe is given or makes."""

    __slots__ = ("number", "_shape")

    def __init__(self, number, shape):
        self.number, self._shape = number, tuple(shape)


class Recipe:
    """Steps that repeat a composition on tensors of the same shapes."""

    def __init__(self, given):
        self.terms, self.steps = [Term(i, s) for i, s in enumerate(given)], []
        self.made = len(self.terms)

    def __call__(self, *tensors):
        values = list(tensors)
        for function, i, j, argument in self.steps:
            values.append(function(values[i], argument) if j is None else function(values[i], values[j]))
        return values[-1]

    def step(self, function, terms, argument, shape):
        """A function of one term and an argument, or of two terms."""
        numbers = [t.number for t in terms]
        self.steps.append((function, numbers[0], numbers[1] if len(numbers) == 2 else None, argument))
        self.made += 1
        return Term(self.made - 1, shape)

    def permute(self, t, order):
        order = tuple(order)
        if order == tuple(range(len(order))):
            return t
        return self.step(REGISTRY["permute"].callable, (t,), order, [t._shape[i] for i in order])

    def sum(self, t, dims):
        rest = [s for i, s in enumerate(t._shape) if i not in dims]
        return self.step(REGISTRY["sum"].callable, (t,), list(dims), rest) if dims else t

    def sum_kept(self, t, dim):
        """The sum over a dimension, which stays, in the dtype of ``t``."""
        shape = [1 if i == dim else s for i, s in enumerate(t._shape)]
        return self.step(_sum_kept, (t,), dim, shape)

    def squeeze(self, t, dim):
        return self.step(REGISTRY["squeeze"].callable, (t,), dim, t._shape[:dim] + t._shape[dim + 1:])

    def diagonal(self, t, i, j):
        size = min(t._shape[i], t._shape[j])
        shape = [s for k, s in enumerate(t._shape) if k not in (i, j)]
        return self.step(_diagonal, (t,), (i, j), (*shape, size))

    def expand(self, t, shape):
        return self.step(REGISTRY["expand"].callable, (t,), tuple(shape), shape)

    def reshape(self, t, shape):
        """``t`` in another shape; itself when the shape is the same."""
        shape = tuple(shape)
        return t if t._shape == shape else self.step(shapes.reshaped, (t,), shape, shape)

    def reshaped(self, t, shape):
        """``t`` in another shape, or a view of it."""
        return self.step(shapes.reshaped, (t,), tuple(shape), shape)

    def view(self, t, shape):
        return self.step(shapes.view_shape.call, (t,), tuple(shape), shape)

    def multiply(self, a, b):
        n = max(len(a._shape), len(b._shape))
        p, q = (1,) * (n - len(a._shape)) + a._shape, (1,) * (n - len(b._shape)) + b._shape
        return self.step(_product, (a, b), None, [y if x == 1 else x for x, y in zip(p, q)])

    def mm(self, a, b):
        return self.step(mm, (a, b), None, (a._shape[0], b._shape[1]))

    def bmm(self, a, b):
        return self.step(bmm, (a, b), None, (*a._shape[:2], b._shape[2]))

    def matrices(self, a, b, rows, k, columns):
        """The product of two terms as matrices of ``rows`` by ``k`` and ``k`` by ``columns``: sizes of several dimensions."""
        left = self.reshape(a, (numel(rows), numel(k)))
        return self.mm(left, self.reshape(b, (numel(k), numel(columns))))


def _product(a, b):
    return a * b


def _diagonal(t, dims):
    return REGISTRY["diagonal"].callable(t, 0, *dims)


def _sum_kept(t, dim):
    return t.sum(dim, True, dtype=t.dtype)


class Recipes(dict):
    """Recipes by what tells calls apart."""

    def keep(self, key, recipe):
        if len(self) >= MOST:
            self.clear()
        self[key] = recipe
        return recipe
