"""What operators and sizes make of what is neither tensor nor number: Python's answer, as in PyTorch."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


class Own:
    """Takes part in arithmetic from the right side only."""

    def __radd__(self, other):
        return "own sum"

    def __rmatmul__(self, other):
        return "own product"

    def __repr__(self):
        return "Own()"


class Index:
    def __index__(self):
        return 4


OPERATORS = [getattr(operator, name) for name in """add sub mul truediv floordiv mod pow matmul and_ or_ lt ge eq ne iadd imul
             ipow""".split()]
OTHERS = {"ellipsis": ..., "own": Own(), "class": Own, "object": object(), "function": print, "slice": slice(None),
          "bytes": b"x", "set": {1}, "range": range(2),
          "none": None, "text": "a", "list": [1.0, 2.0], "complex": 1j, "int": 2, "float": 2.5,
          "truth": True, "number": np.float32(2)}
MAKE = {"dense": lambda t: t.tensor([1.0, 2.0]), "broadcast": lambda t: t.tensor([[1.0], [2.0]]).t(),
        "integer": lambda t: t.tensor([1, 2])}


def said(f, a, b):
    try:
        found = f(a, b)
    except Exception as e:
        return type(e).__name__, *([str(e)] if isinstance(e, TypeError) and "unsupported operand" in str(e) else [])
    return np.round(np.array(found.tolist(), complex), 4).tolist() if hasattr(found, "tolist") else found


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("f", OPERATORS, ids=lambda f: f.__name__)
def test_operators_leave_to_python_what_they_do_not_know(f, name):
    """Twice, as the first call finds the fast way; from both sides."""
    other = OTHERS[name]
    for make in [*MAKE.values()] * 2:
        assert said(f, make(ng), other) == said(f, make(torch), other)
        if f.__name__[0] != "i":
            assert said(f, other, make(ng)) == said(f, other, make(torch))


def test_equality_in_containers():
    x = ng.ones(2)
    assert (x == ...) is False and (x != ...) is True and ... not in [x] and ng.float32 not in (x,)


SIZES = {
    "tensors": lambda t: t.Size((t.tensor(3), 2)), "one element": lambda t: t.Size([t.tensor([3])]),
    "float tensor": lambda t: t.Size([t.tensor(3.0)]), "truth": lambda t: t.Size([True, t.tensor(True)]),
    "float": lambda t: t.Size([2.0]), "text": lambda t: t.Size("ab"), "number": lambda t: t.Size(3),
    "numpy": lambda t: t.Size([np.int64(3)]), "index": lambda t: t.Size([Index()]), "none": lambda t: t.Size(),
    "sum": lambda t: t.Size([2]) + (t.tensor(3),), "list": lambda t: t.Size([2]) + [3],
    "view": lambda t: t.arange(6).view(t.Size([t.tensor(2), t.tensor(3)])).shape,
    "expand": lambda t: t.ones(1).expand(t.Size((t.tensor(2),)) + t.Size([t.tensor(4)])).shape}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_numbers(name):
    def one(t):
        try:
            found = SIZES[name](t)
        except TypeError as e:
            return str(e).partition("; ")[0] if name != "number" else "TypeError"
        return repr(found), [type(n) for n in found]
    assert one(ng) == one(torch)
