"""In-place methods beside the ops, and PyTorch's oldest names."""
# ruff: noqa: B023 (functions are called where they are made)

import numpy as np
import parity
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
COMPARISONS = "lt le gt ge eq ne less less_equal greater greater_equal not_equal".split()


def agree(code):
    mine, theirs = parity.said(ng, code), parity.said(torch, code)
    assert mine == theirs
    return mine


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_in_place(name):
    for d in ("float32", "int64", "bool"):
        agree(lambda lib: getattr(lib.tensor([[1, 2], [0, 1]], dtype=getattr(lib, d)), name + "_")(1))
        agree(lambda lib: getattr(lib.tensor([[1, 2], [0, 1]], dtype=getattr(lib, d)), name + "_")(lib.tensor([0.5, 3.0])))
    agree(lambda lib: getattr(lib.ones(2), name + "_")(lib.ones(3, 2)))
    agree(lambda lib: getattr(lib.ones(2, requires_grad=True), name + "_")(1))

    def gradient(lib):
        x = lib.ones(3, requires_grad=True)
        y = x * 2
        getattr(y, name + "_")(2)
        (y * 3).sum().backward()
        return x.grad
    agree(gradient)
    x = ng.ones(2)
    before = x._version
    getattr(x, name + "_")(1)
    assert x._version > before


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (9, 2), (7, 3), (8, 3), (3, 3, 3), (4,), (2, 3, 3), (1, 1)])
@pytest.mark.parametrize("wrap", [False, True])
def test_fill_diagonal(shape, wrap):
    agree(lambda lib: lib.zeros(*shape).fill_diagonal_(2.5, wrap).tolist())
    if len(shape) == 2:
        agree(lambda lib: lib.zeros(*shape).t().fill_diagonal_(2.5, wrap).tolist())


def test_python_functions_of_elements():
    agree(lambda lib: lib.arange(6).reshape(2, 3).t().apply_(lambda v: v * v))
    agree(lambda lib: lib.arange(6.0).map_(lib.ones(6), lambda a, b: a + 2 * b))
    agree(lambda lib: lib.zeros(2, 3).map_(lib.arange(3.0), lambda a, b: a + b))
    agree(lambda lib: lib.arange(6.0).map2_(lib.ones(6), lib.full((6,), 3.0), lambda a, b, c: a * b - c))
    assert "requires grad" in agree(lambda lib: lib.ones(2, requires_grad=True).apply_(abs))
    assert "requires grad" in agree(lambda lib: lib.ones(2).map_(lib.ones(2, requires_grad=True), max))
    assert agree(lambda lib: lib.zeros(0).apply_(abs)) == "tensor([])"


def test_is_nonzero_and_new():
    for v in (0, 1, 0.5, -0.0, [1.0], True):
        agree(lambda lib: (lib.is_nonzero(lib.tensor(v)), lib.tensor(v).is_nonzero()))
    agree(lambda lib: lib.is_nonzero(lib.ones(2)))
    agree(lambda lib: lib.is_nonzero(lib.ones(0)))
    x = ng.ones(2, dtype=ng.float64)
    for made in (x.new(2, 3), x.new(ng.Size([2, 3]))):
        assert made.shape == (2, 3) and made.dtype is ng.float64
    assert x.new().shape == (0,)
    agree(lambda lib: lib.ones(2, dtype=lib.float64).new([1, 2, 3]))
    agree(lambda lib: lib.ones(2, dtype=lib.float64).new(np.array([1, 2, 3])).sum())


NAMES = {"as_strided": ((2, 2), (1, 2)), "diagonal": (), "expand": ((2, 3, 4),), "narrow": (1, 0, 2), "permute": ((1, 0),),
         "select": (0, 1), "split": (2,), "split_with_sizes": ([1, 2],), "squeeze": (), "t": (), "transpose": (0, 1),
         "unbind": (),
         "unfold": (1, 2, 1), "unsqueeze": (0,), "view": ((4, 3),)}


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_views(name):
    x = np.arange(12.0).reshape(3, 4)

    def code(lib):
        leaf = lib.tensor(x, requires_grad=True)
        y = getattr(lib, name + "_copy")(leaf, *NAMES[name])
        parts = y if isinstance(y, (tuple, list)) else [y]
        assert all([p.untyped_storage().data_ptr() != leaf.untyped_storage().data_ptr() and p.is_contiguous() for p in parts])
        sum([(p * p).sum() for p in parts]).backward()
        return [p.detach() for p in parts] + [leaf.grad]
    agree(code)


def test_unsafe_splits():
    for name, argument in (("chunk", 2), ("split", 2), ("split_with_sizes", [1, 2])):
        agree(lambda lib: list(getattr(lib, "unsafe_" + name)(lib.arange(12).reshape(3, 4), argument)))
        agree(lambda lib: list(getattr(lib.arange(12).reshape(3, 4), "unsafe_" + name)(argument)))


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (1,), (1, 2, 3)])
def test_normalized_shapes_that_begin_with_one(name, shape):
    data = np.random.default_rng(0).standard_normal((2, *shape))

    def code(lib):
        x = lib.tensor(data, requires_grad=True)
        w = lib.ones(shape, dtype=lib.float64, requires_grad=True)
        b = lib.ones(shape, dtype=lib.float64, requires_grad=True)
        out = []
        for more in ((w,), (None, b), (w, b)) if name == "layer_norm" else ((w,),):
            leaves = [t for t in (x, *more) if t is not None]
            y = getattr(lib.nn.functional, name)(x, shape, *more, eps=0.5)
            out += [list(g.shape) for g in lib.autograd.grad((y * y).sum(), leaves)]
        return out
    agree(code)


def test_gradients_that_are_none():
    def code(lib):
        x = lib.tensor([1.0, 0.0], requires_grad=True)
        t = lib.tensor([1.0, -1.0], requires_grad=True)
        y = lib.nn.functional.hinge_embedding_loss(x, t)
        return [lib.autograd.grad(lib.linalg.vector_norm(x, 0), x, allow_unused=True)[0],
                lib.autograd.grad(y, t, allow_unused=True)[0] if y.requires_grad else None]
    agree(code)


def test_exponents_of_integers():
    for dtype in ("int64", "int32", "float32"):
        agree(lambda lib: lib.logspace(1.2, 4.7, 5, dtype=getattr(lib, dtype)).long().tolist())
    agree(lambda lib: lib.logspace(1.2, 2, 5, base=5.0, dtype=lib.int64))
    agree(lambda lib: lib.diff(lib.ones(2, 2), 0, 0, lib.zeros(1, 2)))
    for n in (1, 2, 3):
        agree(lambda lib: getattr(lib.nn.functional, f"avg_pool{n}d")(lib.arange(-20, 44).reshape(1, 1, *[4] * 3)[
            (0,) * (3 - n)] if n < 3 else lib.arange(-20, 44).reshape(1, 1, 4, 4, 4), 2, 1))
