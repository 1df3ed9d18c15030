"""Every op of the registry: forward, and forward with backward, on its first sample; plus one control."""

from __future__ import annotations

import numpy as np

import numbagrad as ng
from numbagrad.dispatch.sampling import Case, flat
from numbagrad.extend import REGISTRY

# Generated, so that a new op is tracked from the day it is registered; tests/test_benchmarks.py checks it.
NAMES = sorted(name for name, op in REGISTRY.items() if op.samples)
DIFFERENTIABLE = sorted(n for n in NAMES if REGISTRY[n].differentiable and not REGISTRY[n].random)


class _Op:
    """The first sample of an op, in float32."""

    param_names = ["op"]
    # A thousand short benchmarks: a second each is enough.
    warmup_time = 0.05
    rounds = 1
    repeat = (3, 10, 1.0)

    def setup(self, name):
        ng.set_num_threads(1)
        ng.manual_seed(0)
        op = REGISTRY[name]
        case = Case(op, 0)
        self.op = op.callable
        self.args, self.kwargs = case.fill(case.tensors("float32", op.differentiable))
        self.outputs()  # compiles

    def outputs(self):
        return [t for t in flat(self.op(*self.args, **self.kwargs)) if t.requires_grad]


class Forward(_Op):
    """One call on a small input: dispatch, recording and the kernel's start."""

    params = NAMES

    def time_forward(self, name):
        self.op(*self.args, **self.kwargs)


class ForwardBackward(_Op):
    """The same with backward."""

    params = DIFFERENTIABLE

    def setup(self, name):
        super().setup(name)
        outs = self.outputs()
        if not outs:
            raise NotImplementedError("no output requires grad")
        self.grads = [ng.ones_like(t) for t in outs]
        self.time_forward_backward(name)

    def time_forward_backward(self, name):
        ng.autograd.backward(self.outputs(), self.grads)


class Control:
    """NumPy only: when this moves, the machine moved."""

    def setup(self):
        self.x = np.random.default_rng(0).standard_normal(1 << 20).astype("float32")

    def time_numpy_add(self):
        self.x + self.x
