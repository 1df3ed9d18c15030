"""Every op of the registry: forward, and forward with backward, on its first sample; plus one control."""

from __future__ import annotations

import numpy as np

import numbagrad as ng
from numbagrad.op.record import REGISTRY
from numbagrad.op.sampling import arguments

# Generated, so that a new op is tracked from the day it is registered; tests/test_benchmarks.py checks it.
NAMES = sorted(name for name, op in REGISTRY.items() if op.samples)
DIFFERENTIABLE = sorted(n for n in NAMES if REGISTRY[n].differentiable and not REGISTRY[n].random)


def _outputs(y):
    return [t for t in (y if isinstance(y, (tuple, list)) else (y,)) if getattr(t, "requires_grad", False)]


class Forward:
    """One call on a small input: dispatch, recording and the kernel's start."""

    params = NAMES
    param_names = ["op"]

    def setup(self, name):
        ng.set_num_threads(1)
        ng.manual_seed(0)
        op = REGISTRY[name]
        self.op = op.callable
        self.args, self.kwargs = arguments(op, op.samples[0], "float32", requires_grad=op.differentiable)
        self.op(*self.args, **self.kwargs)

    def time_forward(self, name):
        self.op(*self.args, **self.kwargs)


class ForwardBackward:
    """The same with backward."""

    params = DIFFERENTIABLE
    param_names = ["op"]

    def setup(self, name):
        Forward.setup(self, name)
        outs = _outputs(self.op(*self.args, **self.kwargs))
        self.grads = [ng.ones_like(t) for t in outs]
        if not outs:
            raise NotImplementedError("no output requires grad")
        self.time_forward_backward(name)

    def time_forward_backward(self, name):
        outs = _outputs(self.op(*self.args, **self.kwargs))
        ng.autograd.backward(outs, self.grads)


class Control:
    """NumPy only: when this moves, the machine moved."""

    def setup(self):
        self.x = np.random.default_rng(0).standard_normal(1 << 20).astype("float32")

    def time_numpy_add(self):
        self.x + self.x
