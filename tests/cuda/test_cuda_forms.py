"""The two forms of hand-written kernels on a device, a thread per item and a block per item, against each other and the CPU."""

import ast

import pytest
from cuda_twin import arguments, assert_close, call, grads, move, tensors

import numbagrad as ng
from numbagrad.extend import REGISTRY, T, kernel, load, store
from numbagrad.kernel.cuda import block_form, folds, launcher, syntax
from numbagrad.kernel.cuda.independence import independent

# Composed ops that launch kernels beside those of custom ops.
COMPOSED = ("layer_norm group_norm batch_norm cross_entropy embedding max_pool2d var softmax argmax conv2d index_add "
            "cummax").split()
OPS = [name for name, op in REGISTRY.items() if op.samples and (op.kind == "custom" or name in COMPOSED)]


@pytest.mark.parametrize("name", OPS)
def test_block_form(name, monkeypatch):
    monkeypatch.setattr(launcher, "PREFER", "blocks")
    op = REGISTRY[name]
    args, kwargs = arguments(op, op.samples[0])
    want, there = call(op, args, kwargs), move(args)
    got = call(op, there, move(kwargs))
    for g, w in zip(tensors(got), tensors(want), strict=True):
        assert_close(g, w, name)
    for g, w in zip(grads(got, there), grads(want, args), strict=True):
        if w is not None:
            assert_close(g, w, f"gradient of {name}")


@kernel
def standardized(x: "*T", out: "*T", sums: "*f8", n: int, start: int, stop: int):
    """Rows of x (rows, n) times their largest element, into out (rows, n), and the sums of x into sums (rows,)."""
    for row in range(start, stop):
        base = row * n
        top, total = load(x[base]), 0.0
        for i in range(n):
            v = load(x[base + i])
            total += v
            top = v if v > top else top
        sums[row] = total
        for i in range(n):
            out[base + i] = store(load(x[base + i]) * top)


@pytest.mark.parametrize("form", ["threads", "blocks"])
def test_rows_of_many_lengths(form, monkeypatch):
    """Rows shorter and longer than a block, one and many of them."""
    monkeypatch.setattr(launcher, "PREFER", form)
    for rows, n in ((1, 1), (3, 2), (2, 5), (5, 4), (1, 23)):
        x = ng.randn(rows, n)
        out, sums = ng.zeros(rows, n, device="cuda"), ng.zeros(rows, dtype=ng.float64, device="cuda")
        standardized.launch(x.cuda(), out, sums, n, rows=rows)
        assert_close(out, x * x.amax(1, True), form)
        assert_close(sums, x.double().sum(1), form, 1e7)  # (float32's sum on the one side)


def loop(text):
    return ast.parse(text).body[0]


@pytest.mark.parametrize("text,how", [
    ("for i in range(n):\n    a += x[i]", "sum"), ("for i in range(n):\n    a = accumulate(a, x[i])", "sum"),
    ("for i in range(n):\n    a *= x[i]", "prod"), ("for i in range(n):\n    a -= x[i]", "sum"),
    ("for i in range(n):\n    a = x[i] if x[i] > a else a", "max"),
    ("for i in range(n):\n    v = x[i]\n    a = v if v < a else a", "min"), ("for i in range(n):\n    a |= x[i]", "or"),
    ("for i in range(n):\n    a = x[i] - a", None), ("for i in range(n):\n    a += x[i] * a", None),
    ("for i in range(n):\n    a += x[i]\n    y[i] = a", None), ("for i in range(n):\n    a = a if x[i] < a else x[i]", None),
    ("for i in range(n):\n    a += x[i]\n    a *= 2", None), ("for i in range(n):\n    a = x[i] + 1 if x[i] > a else a", None)])
def test_folds_are_recognised(text, how):
    assert folds.fold_of(loop(text), "a") == how


def source(text):
    """A function with source text."""
    space = {}
    exec(text, space)
    fn = space["f"]
    fn.__source__ = text
    return fn


APART = "def f(x, out, n, start, stop):\n    for i in range(start, stop):\n"


@pytest.mark.parametrize("body,apart", [
    ("        out[i] = x[i]", True), ("        b = i * n\n        for k in range(n):\n            out[b + k] = x[b + k]", True),
    ("        out[i // 2] = x[i]", False), ("        out[x[i]] = 1", False), ("        out[0] += x[i]", False),
    ("        out[i] = out[i - 1] + x[i]", False), ("        k = i % n\n        out[k] += x[i]", False)])
def test_items_that_meet_are_not_taken_apart(body, apart):
    assert independent(source(APART + body)) is apart


def test_scalars_that_live_on_are_seen():
    text = "def f(x, n):\n    at = 0\n    for i in range(n):\n        at = i\n        v = 1\n    v = 2\n    x[at] = v\n"
    tree = ast.parse(text).body[0]
    assert "at" in syntax.read_after(tree, tree.body[1]) and "v" not in syntax.read_after(tree, tree.body[1])


@kernel
def last_above(x: "*T", where: "*i8", n: int, start: int, stop: int):
    """The last place above 0 of each row of x (rows, n), into where (rows,)."""
    for row in range(start, stop):
        at = -1
        for i in range(n):
            at = i if load(x[row * n + i]) > T(0) else at
        where[row] = at


def test_what_a_block_can_share():
    assert block_form.worth(standardized, ng.float32)
    assert not block_form.worth(last_above, ng.float32)  # a turn takes up what the one before left: one thread walks the row
