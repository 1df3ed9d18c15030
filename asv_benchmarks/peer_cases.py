"""The work that ``peers.py`` times: written once against PyTorch's API, run on numbagrad and on PyTorch.

Each case is a function of the library that returns the function to time. Sizes and the upper limit of the ratio
numbagrad / PyTorch stand beside it.
"""

from __future__ import annotations

import numpy as np

CASES = {}


def case(limit, group="ops"):
    def register(fn):
        CASES[fn.__name__] = (fn, limit, group)
        return fn
    return register


def rand(lib, *shape, seed=0, grad=False):
    a = np.random.default_rng(seed).standard_normal(shape).astype("float32")
    t = lib.tensor(a)
    return t.requires_grad_() if grad else t


@case(0.75)
def add_8x8(lib):
    a, b = rand(lib, 8, 8, grad=True), rand(lib, 8, 8, seed=1, grad=True)
    return lambda: a + b


@case(0.75)
def matmul_8x8(lib):
    a, b = rand(lib, 8, 8, grad=True), rand(lib, 8, 8, seed=1, grad=True)
    return lambda: a @ b


@case(0.40)
def three_ops_8x8(lib):
    a, b = rand(lib, 8, 8, grad=True), rand(lib, 8, 8, seed=1, grad=True)

    def run():
        ((a * b).sin()).sum().backward()
    return run


@case(0.60)
def chain_1000_sin(lib):
    x = rand(lib, 8, 8, grad=True)

    def run():
        y = x
        for _ in range(1000):
            y = y.sin()
        y.sum().backward()
    return run


def _million(name, call):
    def make(lib):
        x, g = rand(lib, 1 << 20, grad=True), rand(lib, 1 << 20, seed=1)

        def run():
            x.grad = None
            call(lib, x).backward(g)
        return run
    make.__name__ = "million_" + name
    case(0.60)(make)


for _name in ("exp", "tanh", "sin", "sigmoid", "erf"):
    _million(_name, lambda lib, x, name=_name: getattr(lib, name)(x))
_million("gelu", lambda lib, x: lib.nn.functional.gelu(x))
_million("softplus", lambda lib, x: lib.nn.functional.softplus(x))


def _layer(name, shape, call, limit=1.0):
    def make(lib):
        x = rand(lib, *shape, grad=True)
        y = call(lib, x)
        y = y[0] if isinstance(y, tuple) else y
        g = rand(lib, *y.shape, seed=1) if tuple(y.shape) else None

        def run():
            x.grad = None
            out = call(lib, x)
            (out[0] if isinstance(out, tuple) else out).backward(g)
        return run
    make.__name__ = name
    case(limit)(make)


_layer("softmax_1024x1024", (1024, 1024), lambda lib, x: lib.softmax(x, 1))
_layer("softmax_32x10", (32, 10), lambda lib, x: lib.softmax(x, 1))
_layer("layer_norm_1024x1024", (1024, 1024), lambda lib, x: lib.nn.functional.layer_norm(x, (1024,)))
_layer("sum_axis0", (1024, 1024), lambda lib, x: x.sum(0))
_layer("sum_axis1", (1024, 1024), lambda lib, x: x.sum(1))
_layer("mean_axis1", (1024, 1024), lambda lib, x: x.mean(1))
_layer("max_axis1", (1024, 1024), lambda lib, x: x.max(1))
_layer("sum_all", (1024, 1024), lambda lib, x: x.sum())


@case(1.0)
def cross_entropy_1024x1000(lib):
    x = rand(lib, 1024, 1000, grad=True)
    y = lib.tensor(np.random.default_rng(2).integers(0, 1000, 1024))

    def run():
        x.grad = None
        lib.nn.functional.cross_entropy(x, y).backward()
    return run


def _matmul(n):
    def make(lib):
        a, b = rand(lib, n, n, grad=True), rand(lib, n, n, seed=1, grad=True)
        g = rand(lib, n, n, seed=2)

        def run():
            a.grad = b.grad = None
            (a @ b).backward(g)
        return run
    make.__name__ = f"matmul_{n}"
    case(0.55)(make)


_matmul(256)
_matmul(1024)


def _mlp(lib, batch, sizes):
    nn = lib.nn
    lib.manual_seed(0)
    layers = []
    for i in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers.append(nn.ReLU())
    model = nn.Sequential(*layers)
    opt = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = rand(lib, batch, sizes[0])
    y = lib.tensor(np.random.default_rng(3).integers(0, sizes[-1], batch))
    loss_fn = nn.CrossEntropyLoss()

    def step():
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        opt.step()
        return loss
    return step


@case(0.50, "training")
def mlp_32x64x64x10(lib):
    return _mlp(lib, 32, (64, 64, 10))


@case(0.60, "training")
def mlp_128x784x256x10(lib):
    return _mlp(lib, 128, (784, 256, 10))


@case(0.50, "training")
def logistic_200x2(lib):
    lib.manual_seed(0)
    net = lib.nn.Sequential(lib.nn.Linear(2, 1), lib.nn.Sigmoid())
    opt = lib.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = rand(lib, 200, 2)
    y = (x[:, 0] > 0).float()
    loss_fn = lib.nn.BCELoss()

    def step():
        loss = loss_fn(net(x).squeeze(), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss
    return step


# --- whole processes -----------------------------------------------------------------------------------------------------

IMPORT = "import {package}"
FIRST_GRADIENT = """
import numpy as np
import {package} as lib
lib.manual_seed(0)
nn = lib.nn
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
x = lib.tensor(np.ones((64, 64), dtype="float32"))
y = lib.tensor(np.zeros(64, dtype="int64"))
nn.functional.cross_entropy(model(x), y).backward()
assert model[0].weight.grad is not None
"""
# Whole processes: (script, how it is run, limit: a ratio, or seconds when it is a string).
PROCESSES = {"import": (IMPORT, "warm", 0.30), "first_gradient_warm": (FIRST_GRADIENT, "warm", "1.2 s"),
             "first_gradient_cold": (FIRST_GRADIENT, "cold", "8 s")}
