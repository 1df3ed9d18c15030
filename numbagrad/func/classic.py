"""What ``autograd`` asks of batches and forward mode: gradients of several rows at once, matrices column by column."""

from __future__ import annotations

from ..autograd import engine
from ..base import modes
from ..core.tensor import Tensor
from .batched import BatchLevel, batched
from .dual import DualLevel, dual
from .jacobians import bases
from .reverse import vjp_of
from .vmap import vmap


def check_rows(outputs, grads):
    """Each gradient has one dimension more than its output, and all the same number of rows; returns that."""
    sizes = []
    for i, (o, g) in enumerate(zip(outputs, grads)):
        if g is None:
            continue
        if not g.dim():
            raise ValueError("vmap: Got in_dim=0 for some input, but that input is a Tensor of dimensionality 0 so expected "
                             "in_dim "
                             "to satisfy 0 <= in_dim < 0.")
        if isinstance(o, Tensor) and g._shape[1:] != o._shape:
            raise RuntimeError("If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                               "dimension. The sizes of the remaining dimensions are expected to match the shape of "
                               "corresponding "
                               f"output, but a mismatch was detected: grad_output[{i}] has a shape of {g.shape[2:]} and "
                               f"output[{i}] "
                               f"has a shape of {o.shape}. If you only want some tensors in `grad_output` to be considered "
                               "batched, consider using vmap.")
        sizes.append(g._shape[0])
    if not sizes:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    if any([s != sizes[0] for s in sizes]):
        raise ValueError("vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
                         f"{sizes} for the mapped dimension")
    return sizes[0]


def rows_of_gradients(outputs, inputs, grads, keep, create):
    """``autograd.grad`` of many rows of ``grads`` at once; None where there is no path."""
    pairs = [(o, g) for o, g in zip(outputs, grads) if g is not None]
    with BatchLevel(check_rows(outputs, grads)) as level:
        roots = [engine.edge_of(o) for o, _ in pairs]
        given = [batched(level, g) for _, g in pairs]
        if create:
            found = engine.run(roots, given, True, True, inputs, accumulate=False)
        else:
            found = engine.run_by_rules(roots, given, inputs, keep)
        return [None if r is None else level.spread(r) for r in found]


def forward_jacobian(func, inputs, as_tuple):
    """Derivatives by forward mode: ([[for each input] for each output], whether the outputs were a tuple)."""
    told = []
    (basis,) = bases(inputs)

    def push(*tangents):
        with DualLevel() as level:
            outs = func(*[dual(level, x, t) for x, t in zip(inputs, tangents)])
            is_tuple, outs = as_tuple(outs, "outputs", None)
            told[:] = [is_tuple, [level.primal(o)._shape for o in outs]]
            return tuple([t if (t := level.tangent(o)) is not None else o.detach().new_zeros(o._shape) for o in outs])
    columns = vmap(push)(*basis)
    is_tuple, shapes = told
    counts = [x._n for x in inputs]
    return [tuple([part.movedim(0, -1).reshape(*shape, *x._shape) for x, part in zip(inputs, c.split(counts, 0))])
            for c, shape in zip(columns, shapes)], is_tuple


def gradient_of(func, inputs):
    """The gradient of a function of one number, whose inputs may belong to transforms."""
    with modes.enable_grad():
        out, pullback = vjp_of(func, tuple(inputs), None, False)
        return pullback(out.detach().new_ones(out._shape))
