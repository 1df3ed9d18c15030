"""Representative work at fixed sizes: elementwise, reductions, matrix products, chains."""

from __future__ import annotations

import numpy as np

import numbagrad as ng
from numbagrad.nn import functional as F


def rand(*shape, grad=True, seed=0):
    t = ng.tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))
    return t.requires_grad_() if grad else t


CALLS = {
    "exp": lambda x: x.exp(), "tanh": lambda x: x.tanh(), "sin": lambda x: x.sin(), "sigmoid": lambda x: x.sigmoid(),
    "gelu": F.gelu, "softplus": F.softplus, "sum": lambda x: x.sum(), "sum_rows": lambda x: x.sum(-1),
    "sum_columns": lambda x: x.sum(0), "softmax": lambda x: F.softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]), "broadcast_add": lambda x: x + x[0],
}


class Sizes:
    """Forward and backward on square inputs, one and two threads."""

    params = [list(CALLS), [8, 128, 1024], [1, 2]]
    param_names = ["call", "side", "threads"]

    def setup(self, call, side, threads):
        ng.set_num_threads(threads)
        self.x = rand(side, side)
        self.g = ng.ones_like(CALLS[call](self.x))
        self.time_forward_backward(call, side, threads)

    def time_forward_backward(self, call, side, threads):
        self.x.grad = None
        CALLS[call](self.x).backward(self.g)


class Matmul:
    params = [[8, 64, 256, 1024], [1, 2]]
    param_names = ["side", "threads"]

    def setup(self, side, threads):
        ng.set_num_threads(threads)
        self.a, self.b, self.g = rand(side, side), rand(side, side, seed=1), rand(side, side, grad=False)
        self.time_forward_backward(side, threads)

    def time_forward_backward(self, side, threads):
        self.a.grad = self.b.grad = None
        (self.a @ self.b).backward(self.g)


class Chain:
    """Many small ops: what the graph itself costs."""

    def setup(self):
        ng.set_num_threads(1)
        self.x = rand(8, 8)
        self.time_chain_of_1000()
        self.time_three_ops()

    def time_chain_of_1000(self):
        y = self.x
        for _ in range(1000):
            y = y.sin()
        y.sum().backward()

    def time_three_ops(self):
        ((self.x * self.x).sin()).sum().backward()
