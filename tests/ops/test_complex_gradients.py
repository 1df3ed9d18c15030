"""Gradients of every op that takes complex numbers, to second order, against differences and PyTorch.

PyTorch's convention: backward with ``w`` gives ``dL/da + i dL/db`` of ``L = Re(sum(conj(w) * output))`` for inputs ``a + ib``.
"""

import numpy as np
import pytest
from parity import torch as pytorch
from registry.draw import cases, flat, ids, ops
from registry.oracle import torch_function, torch_values

import numbagrad as ng

STEP = 1e-3
CLEAR = (RuntimeError, TypeError, ValueError, IndexError)
# What PyTorch computes for complex numbers and is refused here, by name of the op.
REFUSED = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "lstm_cell", "gru_cell", "rnn_tanh_cell"), "one real kernel for all steps"),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), "PyTorch computes only output_size 1, as a mean"),
    "soft_margin_loss": "a real kernel; a complex loss has no minimum",
    "affine_grid_generator": "places in an image are real; affine_grid refuses them in PyTorch too",
}
# What PyTorch refuses, wholly or in backward, and is computed here (no reason against it is known): differences judge it.
ACCEPTED = {
    "as_strided_scatter": "PyTorch keeps the gradient of what was overwritten (see known.py)",
    "bilinear": "", "bincount": "", "embedding": "", "embedding_bag": "", "index_reduce": "", "interpolate": "", "silu": "",
    "nan_to_num": "",
    "conv_tbc": "", "local_response_norm": "", "scatter_reduce": "", "select_scatter": "", "slice_scatter": "", "vander": "",
    "im2col": "no public function there", "slice": "no public function there",
}


def complexed(case):
    """The case's arrays with an imaginary part where they are floats that are no constants."""
    rng = np.random.default_rng(5)
    return [a + 0.7j * rng.permutation(a.ravel()).reshape(a.shape) * rng.choice([-1, 1], a.shape)
            if a.dtype.kind == "f" and spec[0] != "constant" else a for a, spec in zip(case.arrays, case.specs)]


def weights(like, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 1.5, a.shape) + (1j * rng.uniform(-1, 1, a.shape) if a.dtype.kind == "c" else 0) for a in like]


def tensor_of(library, a):
    return library.tensor(np.array(a)) if library is ng else library.from_numpy(np.array(a))


def array_of(t):
    return t.detach().numpy() if isinstance(t, ng.Tensor) else t.detach().resolve_conj().resolve_neg().numpy()


class Run:
    """One op under one library: values, gradients, gradients of gradients."""

    def __init__(self, library, call):
        self.library, self.call = library, call
        self.flat = flat if library is ng else torch_values

    def outputs(self, arrays, wanted=()):
        tensors = [tensor_of(self.library, a) for a in arrays]
        for k in wanted:
            tensors[k].requires_grad_()
        return self.flat(self.call(tensors)), tensors

    def live(self, arrays, wanted):
        outs, tensors = self.outputs(arrays, wanted)
        return [o for o in outs if o.requires_grad], tensors

    def first(self, arrays, wanted, ws, graph=False):
        """(gradients, the inputs that they are of, the upstream tensors)."""
        outs, tensors = self.live(arrays, wanted)
        ws = [tensor_of(self.library, w).requires_grad_() for w in ws]
        inputs = [tensors[k] for k in wanted]
        return self.library.autograd.grad(outs, inputs, ws, create_graph=graph, allow_unused=True), inputs, ws

    def second(self, arrays, wanted, ws, vs):
        """Gradients of sum(Re(conj(v) * gradient)) by the inputs and the upstream gradients."""
        grads, inputs, ws = self.first(arrays, wanted, ws, True)
        pairs = [(g, tensor_of(self.library, v)) for g, v in zip(grads, vs) if g is not None and g.requires_grad]
        if not pairs:
            return [None] * (len(inputs) + len(ws))
        return self.library.autograd.grad([g for g, _ in pairs], [*inputs, *ws], [v for _, v in pairs], allow_unused=True)


def filled(grads, like):
    return [np.zeros(a.shape, a.dtype) if g is None else array_of(g) for g, a in zip(grads, like)]


def inner(a, b):
    """Re(sum(conj(a) * b)) over lists of arrays."""
    return sum(float(np.real(np.conj(x) * y).sum()) for x, y in zip(a, b))


def along(f, arrays, steps):
    """Derivative of the number ``f(arrays)`` along ``steps`` by fourth-order differences."""
    def at(h):
        return f([a if u is None else a + h * u for a, u in zip(arrays, steps)])
    return (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)


def close(got, expected, what):
    assert abs(got - expected) <= 1e-7 * max(1.0, abs(got), abs(expected)), f"{what}: {got}, expected {expected}"


def by_differences(run, arrays, wanted, ws, vs):
    inputs = [arrays[k] for k in wanted]
    directions = weights(inputs, 11)
    steps = [directions[wanted.index(k)] if k in wanted else None for k in range(len(arrays))]

    def value(moved):
        return inner(ws, [array_of(o) for o in run.live(moved, wanted)[0]])
    grads = filled(run.first(arrays, wanted, ws)[0], inputs)
    close(inner(directions, grads), along(value, arrays, steps), "first derivative")

    n, turned = len(arrays), weights(ws, 13)

    def slope(moved):
        return inner(vs, filled(run.first(moved[:n], wanted, moved[n:])[0], inputs))
    seconds = filled(run.second(arrays, wanted, ws, vs), [*inputs, *ws])
    close(inner([*directions, *turned], seconds), along(slope, [*arrays, *ws], [*steps, *turned]), "second derivative")


def agree(ours, theirs, what):
    for i, (a, b) in enumerate(zip(ours, theirs)):
        assert a.dtype == b.dtype and a.shape == b.shape, f"{what} {i}: {a.dtype} {a.shape}, PyTorch {b.dtype} {b.shape}"
        assert np.allclose(a, b, rtol=1e-7, atol=1e-8, equal_nan=True), f"{what} {i}:\n{a}\nPyTorch:\n{b}"


def against_torch(case, run, arrays, wanted, ws, vs):
    function = torch_function(case.op)
    torch = pytorch()
    theirs = Run(torch, lambda tensors: case.call(tensors, function))
    inputs = [arrays[k] for k in wanted]
    agree([array_of(o) for o in run.outputs(arrays)[0]], [array_of(o) for o in theirs.outputs(arrays)[0]], "value")
    if not ws:
        return
    agree(*[filled(r.first(arrays, wanted, ws)[0], inputs) for r in (run, theirs)], "gradient")
    agree(*[filled(r.second(arrays, wanted, ws, vs), [*inputs, *ws]) for r in (run, theirs)], "second gradient")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ops(private=False), ids=ids)
def test_complex(op):
    """The op's first sample with floats in it, made complex: right to second order, or refused as PyTorch does."""
    case = next((c for c in cases(op) if any(a.dtype.kind == "f" and a.size and s[0] != "constant"
                                             for a, s in zip(c.arrays, c.specs))), None)
    if case is None:
        pytest.skip("no tensor of floats in its samples")
    arrays = complexed(case)
    wanted = [k for k, a in enumerate(arrays) if a.dtype.kind == "c"]
    run = Run(ng, case.call)
    try:
        outs, _ = run.outputs(arrays)
    except CLEAR as error:
        assert "truth value" not in str(error) and "fingerprint" not in str(error)
        function = torch_function(op) if pytorch() is not None else None
        if function is not None and op.name not in REFUSED:
            with pytest.raises(Exception):  # noqa: B017
                Run(pytorch(), lambda tensors: case.call(tensors, function)).outputs(arrays)
        return
    assert op.name not in REFUSED
    ws = weights([array_of(o) for o in run.live(arrays, wanted)[0]], 1) if op.differentiable else []
    vs = weights([arrays[k] for k in wanted], 9)
    if ws:
        by_differences(run, arrays, wanted, ws, vs)
    if pytorch() is not None and op.name not in ACCEPTED and torch_function(op) is not None:
        against_torch(case, run, arrays, wanted, ws, vs)
