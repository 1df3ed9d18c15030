"""An independent gradient checker: fourth-order central differences of NumPy functions, and comparisons in ulps.

Nothing of the library's own ``gradcheck`` is used: a mistake there could hide a mistake here."""

from __future__ import annotations

import numpy as np

import numbagrad as ng

from .draw import flat, floats

# Of a fourth-order difference in float64 with step 2e-4: truncation 5e-17 times the fifth derivative, rounding 1e-12 times
# the size of the sum that is differenced, which is some tens.
STEP, RTOL, ATOL = 2e-4, 1e-8, 2e-9


def numeric_gradient(f, arrays, wanted, step=STEP):
    """Gradients of the number ``f(arrays)`` by central differences, one array per wanted position."""
    out = []
    for k in wanted:
        grad = np.zeros(arrays[k].shape)
        for at in np.ndindex(arrays[k].shape):
            h = step

            def moved(d, at=at, k=k):
                copy = list(arrays)
                copy[k] = arrays[k].copy()
                copy[k][at] += d
                return f(copy)
            grad[at] = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        out.append(grad)
    return out


def weights(shapes, seed):
    """Fixed random weights that turn several outputs into one number."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, s) * rng.choice([-1, 1], s)) for s in shapes]


def weighted(outputs, ws):
    total = 0.0
    for o, w in zip(outputs, ws):
        total += float((o.detach().numpy() * w).sum())
    return total


def analytic(call, arrays, wanted, ws, create_graph=False):
    """(gradients, the tensors) of sum(w * output) with respect to the wanted arrays."""
    tensors = [ng.tensor(a) for a in arrays]
    for k in wanted:
        tensors[k].requires_grad_()
    outputs = [o for o in floats(call(tensors)) if o.requires_grad]
    grads = ng.autograd.grad(outputs, [tensors[k] for k in wanted], [ng.tensor(w) for w in ws], create_graph=create_graph,
                             allow_unused=True)
    return grads, tensors


def grad_outputs(call, arrays, wanted, seed):
    """Weights for the outputs that carry a gradient."""
    tensors = [ng.tensor(a) for a in arrays]
    for k in wanted:
        tensors[k].requires_grad_()
    return weights([tuple(o.shape) for o in floats(call(tensors)) if o.requires_grad], seed)


def dense(grads, arrays, wanted):
    """Gradients as arrays, zeros where there is none."""
    return [np.zeros(arrays[k].shape) if g is None else g.numpy(force=True) for g, k in zip(grads, wanted)]


def live(call, tensors):
    return [o for o in floats(call(tensors)) if o.requires_grad]


def check_first(call, arrays, wanted, seed=0, step=STEP):
    """Compare first derivatives with differences of values; raises AssertionError with the position."""
    ws = grad_outputs(call, arrays, wanted, seed)
    if not ws:
        return
    got = dense(analytic(call, arrays, wanted, ws)[0], arrays, wanted)

    def value(changed):
        tensors = [ng.tensor(a) for a in changed]
        for k in wanted:
            tensors[k].requires_grad_()
        return weighted(live(call, tensors), ws)
    close(got, numeric_gradient(value, arrays, wanted, step), "first derivative")


def check_second(call, arrays, wanted, seed=0, step=STEP):
    """Compare second derivatives (of a weighted sum of the first) with differences of first derivatives.

    The weights of the outputs are variables too, so the derivative with respect to the upstream gradient is checked."""
    ws = grad_outputs(call, arrays, wanted, seed)
    if not ws:
        return
    us = weights([arrays[k].shape for k in wanted], seed + 1)
    n = len(arrays)
    everything = [*arrays, *ws]
    targets = [*wanted, *range(n, n + len(ws))]

    def first(values, graph):
        tensors = [ng.tensor(a) for a in values]
        for k in targets:
            tensors[k].requires_grad_()
        outputs = live(call, tensors[:n])
        grads = ng.autograd.grad(outputs, [tensors[k] for k in wanted], tensors[n:], create_graph=graph, allow_unused=True)
        return grads, tensors

    def value(values):
        grads, _ = first(values, False)
        return sum(float((g.detach().numpy() * u).sum()) for g, u in zip(grads, us) if g is not None)
    grads, tensors = first(everything, True)
    pairs = [(g, ng.tensor(u)) for g, u in zip(grads, us) if g is not None and g.requires_grad]
    if pairs:
        seconds = ng.autograd.grad([g for g, _ in pairs], [tensors[k] for k in targets], [u for _, u in pairs],
                                   allow_unused=True)
    else:
        seconds = [None] * len(targets)
    close(dense(seconds, everything, targets), numeric_gradient(value, everything, targets, step), "second derivative")


def close(got, expected, what, rtol=RTOL, atol=ATOL):
    for i, (a, b) in enumerate(zip(got, expected)):
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        assert a.shape == b.shape, f"{what} {i}: shape {a.shape}, expected {b.shape}"
        bad = ~(np.abs(a - b) <= rtol * np.abs(b) + atol * scale)
        assert not bad.any(), f"{what} {i} is wrong at {np.argwhere(bad)[0].tolist()}:\n{a}\nexpected\n{b}"


# Of the inputs, relative: far above the rounding of float64, far below any distance between the values that are drawn.
NUDGE, NUDGES = 2.0**-20, 8


def movement(call, arrays, seed=0):
    """How far each element of each result of ``call(arrays)`` moves per relative change of the arrays: of a sum, about the
    root of the sum of its squared terms. The largest of a few random changes of all floats at once, in float64."""
    rng = np.random.default_rng(seed)
    at = call(arrays)
    far = [np.zeros(np.shape(a)) for a in at]
    for _ in range(NUDGES):
        nudged = [a * (1 + NUDGE * rng.choice([-1, 1], a.shape)) if a.dtype.kind in "fc" else a for a in arrays]
        with np.errstate(all="ignore"):
            far = [np.fmax(f, np.abs(np.subtract(b, a, dtype=np.result_type(a, np.float64))) / NUDGE)
                   for f, a, b in zip(far, at, call(nudged))]
    return far


def ulps(got, expected, dtype, allowed, what="", size=None):
    """At most ``allowed`` ulps of ``dtype`` apart, element by element.

    An ulp is that of the element itself; where terms cancel that is too little, so that of ``size`` where this is larger: an
    array, or a function that gives one, asked only if an element is too far away."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind in "biu" or expected.dtype.kind in "biu":
        assert np.array_equal(got, expected), f"{what}:\n{got}\nexpected\n{expected}"
        return
    special = ~np.isfinite(expected)
    assert np.array_equal(got[special], expected[special].astype(got.dtype), equal_nan=True), \
        f"{what}:\n{got}\nexpected\n{expected}"
    a, b = got[~special], expected[~special]
    if not b.size:
        return
    facts = np.finfo(dtype)
    error, at = np.abs(a - b), np.maximum(np.abs(b), float(facts.tiny))
    if (error <= allowed * float(facts.eps) * at).all():
        return
    if size is not None:
        size = np.broadcast_to(size() if callable(size) else size, expected.shape)[~special]
        at = np.maximum(at, size)
    off = np.where(error == error, error / (float(facts.eps) * at), np.inf)
    assert (off <= allowed).all(), (f"{what}: off by {float(off.max()):.4g} ulps where {b.flat[off.argmax()]!r} is expected, "
                                    f"{allowed:g} allowed:\n{got}\nexpected\n{expected}")


def same(a, b, what, allowed=4):
    """Two results of the library, equal up to ``allowed`` ulps (another loop may contract other products)."""
    a, b = flat(a), flat(b)
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert x.dtype is y.dtype, f"{what}: {x.dtype} and {y.dtype}"
        y = y.detach().numpy()
        # Loops of other layouts add in another order: an ulp is that of the largest element.
        ulps(x.detach().numpy(), y, y.dtype if y.dtype.kind == "f" else "f8", allowed, what,
             np.abs(y[np.isfinite(y)]).max(initial=0) if y.dtype.kind in "fc" else None)
