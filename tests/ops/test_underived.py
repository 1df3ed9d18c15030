"""Functions without a derivative beside PyTorch: results require grad, and backward refuses with PyTorch's error."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

CALLS = {
    "histogram": lambda lib, x, i: lib.histogram(x, 3),
    "histogram by edges": lambda lib, x, i: lib.histogram(x.detach(), x[0]),
    "histogram of weights": lambda lib, x, i: lib.histogram(x.detach(), 3, weight=x),
    "histogramdd": lambda lib, x, i: (lambda h: (h.hist, *h.bin_edges))(lib.histogramdd(x, [2, 2, 2])),
    "histogramdd by edges": lambda lib, x, i: (lambda h: (h.hist, *h.bin_edges))(lib.histogramdd(x, [x[0].detach()] * 3)),
    "bincount": lambda lib, x, i: lib.bincount(i, x[0]),
    "binomial": lambda lib, x, i: lib.binomial(x, x.detach()),
    "dirichlet": lambda lib, x, i: lib._sample_dirichlet(x),
    "slope": lambda lib, x, i: lib._dirichlet_grad(x, x, x),
    "unique": lambda lib, x, i: lib.unique(x),
    "unique with places": lambda lib, x, i: lib.unique(x, return_inverse=True),
    "unique rows": lambda lib, x, i: lib.unique(x, dim=0),
    "unique_consecutive": lambda lib, x, i: lib.unique_consecutive(x, return_counts=True),
    "unique_consecutive rows": lambda lib, x, i: lib.unique_consecutive(x, dim=0),
    "heaviside": lambda lib, x, i: lib.heaviside(x, x),
}
NONE = {
    "linspace": lambda lib, x, i: lib.linspace(x[0, 0], 2, 4), "logspace": lambda lib, x, i: lib.logspace(0, x[0, 0], 4),
    "histc": lambda lib, x, i: lib.histc(x, 4)}


def told(lib, call):
    """What each result says of its gradient, and of asking for it."""
    x = lib.tensor([[0.25, 0.5, 0.75], [0.125, 0.375, 0.5]]).requires_grad_()
    found = call(lib, x, lib.tensor([0, 2, 2]))
    out = []
    for t in found if isinstance(found, (list, tuple)) else (found,):
        error = None
        if t.grad_fn is not None:
            edges = [type(node).__name__ for node, _ in t.grad_fn.next_functions]
            with pytest.raises(Exception) as error:
                t.sum().backward()
            error = edges, error.type, str(error.value)
        out.append((t.requires_grad, type(t.grad_fn).__name__, error))
    return out


@pytest.mark.parametrize("call", [*CALLS.values(), *NONE.values()], ids=[*CALLS, *NONE])
def test_backward_refuses(call):
    mine, theirs = told(ng, call), told(torch, call)
    assert mine == theirs
    with ng.no_grad():
        found = call(ng, ng.rand(2, 3).requires_grad_(), ng.tensor([0, 2, 2]))
    assert not any(t.requires_grad for t in (found if isinstance(found, (list, tuple)) else (found,)) if t.grad_fn)


@pytest.mark.parametrize("name", ["binomial", "dirichlet", "unique"])
def test_planned_calls_refuse_too(name):
    """Calls of one geometry become programs, which know the node."""
    for _ in range(150):
        out = CALLS[name](ng, ng.rand(2, 3).requires_grad_(), None)
        assert out.requires_grad
        with pytest.raises((RuntimeError, NotImplementedError), match="is not implemented"):
            out.sum().backward()
    assert not CALLS[name](ng, ng.rand(2, 3), None).requires_grad
