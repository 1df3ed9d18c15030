"""Calls of sizes at which threads and vectors begin or end: ``python -m tests.fuzz.cuts [count] [seed] [word]``.

Each drawn call is made on one, two and three threads, and some in a compiled step whose number of threads changes between its
calls; values and gradients are those of one thread, within rounding, and PyTorch's."""

import sys
import warnings
import zlib

import numpy as np
from parity import torch as pytorch

import numbagrad as ng
from numbagrad.kernel import threads

from .cut_calls import CALLS, numbers

__all__ = ["CALLS", "differences", "drawn"]
TOLERANCES = {"float32": 2e-4, "float64": 1e-10, "float16": 2e-2, "bfloat16": 1e-1, "complex64": 2e-4, "complex128": 1e-10}
LAYOUTS = ("rows", "rows", "transposed", "strided", "offset", "expanded", "reversed")


def laid(library, a, layout, dtype):
    """The numbers as a leaf's view of that layout: (leaf, view)."""
    make = library.tensor if library is ng else library.from_numpy
    kind = getattr(library, dtype)

    def leaf(b):
        return make(np.array(b)).to(kind).detach()
    if layout == "transposed" and a.ndim > 1:
        base = leaf(np.swapaxes(a, 0, -1))
        return base, lambda t: t.transpose(0, -1)
    if layout == "strided" and a.ndim:
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 7.0, a.dtype)
        wide[..., ::2] = a
        return leaf(wide), lambda t: t[..., ::2]
    if layout == "offset":
        flat = np.concatenate([[3.0], a.ravel(), [5.0]])
        return leaf(flat), lambda t: t[1:-1].view(a.shape)
    if layout == "expanded" and a.ndim > 1:
        return leaf(a[:1]), lambda t: t.expand(a.shape)
    if layout == "reversed" and a.ndim > 1:
        return leaf(np.swapaxes(np.ascontiguousarray(np.swapaxes(a, -1, -2)), -1, -2)), lambda t: t
    return leaf(a), lambda t: t


def outcome(library, function, arrays, indices, layouts, dtype, graded):
    """Results and gradients, as arrays."""
    leaves, views = [], []
    for a, layout in zip(arrays, layouts):
        leaf, view = laid(library, a, layout, dtype)
        leaves.append(leaf.requires_grad_() if graded else leaf)
        views.append(view)
    make = library.tensor if library is ng else library.from_numpy
    others = [make(np.array(i)) for i in indices]

    weights = []

    def weight(k, out):
        return make(np.random.default_rng(k).uniform(0.5, 1.5, tuple(out.shape))).to(out.dtype)

    def step():
        made = function(library, *[view(t) for view, t in zip(views, leaves)], *others)
        made = list(made) if isinstance(made, (tuple, list)) else [made]
        made = [m if isinstance(m, library.Tensor) else library.tensor(m) for m in made]
        outs = [m for m in made if m.requires_grad]
        if not outs:
            return made
        if not weights:
            weights.extend([weight(k, o) for k, o in enumerate(outs)])
        grads = library.autograd.grad(outs, leaves, weights, allow_unused=True)
        return made + [g for g in grads if g is not None]
    return step


def arrays_of(library, found):
    def array(t):
        wide = library.complex128 if t.is_complex() else library.float64 if t.is_floating_point() else t.dtype
        return np.array(t.detach().to(wide).resolve_conj().numpy())
    return [array(t) for t in found]


def compare(what, ours, theirs, tolerance, found):
    if len(ours) != len(theirs):
        found.append(f"{what}: {len(ours)} results for {len(theirs)}")
        return
    for k, (a, b) in enumerate(zip(ours, theirs)):
        if a.shape != b.shape or a.dtype != b.dtype:
            found.append(f"{what} {k}: {a.dtype}{a.shape} for {b.dtype}{b.shape}")
            continue
        size = tolerance * (1 + (float(np.abs(b[np.isfinite(b)]).max(initial=0)) if b.size else 0))
        bad = ~np.isclose(a, b, tolerance, size, equal_nan=True)
        if bad.any():
            at = np.argwhere(bad)[0]
            found.append(f"{what} {k}: {int(bad.sum())} of {bad.size} differ, first at {tuple(at.tolist())}: "
                         f"{a[tuple(at)]} for {b[tuple(at)]}")


def drawn(name, seed):
    """(function, arrays, indices, layouts, dtype, graded, text)."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    draw, dtypes = CALLS[name]
    dtype = str(rng.choice(dtypes))
    function, arrays, indices, text = draw(name, rng)
    if dtype.startswith("complex"):
        arrays = [a + 1j * numbers(rng, a.shape) for a in arrays]
    layouts = [str(rng.choice(LAYOUTS)) for _ in arrays]
    graded = bool(rng.random() < 0.6)
    shapes = [a.shape for a in arrays]
    return function, arrays, indices, layouts, dtype, graded, f"{name}{text} {shapes} {layouts} {dtype} graded={graded}"


def differences(name, seed, compiled=False):
    """(the call as text, what differs)."""
    function, arrays, indices, layouts, dtype, graded, text = drawn(name, seed)
    rest = arrays, indices, layouts, dtype, graded
    torch, found = pytorch(), []
    try:
        theirs = arrays_of(torch, outcome(torch, function, *rest)())
    except (RuntimeError, ValueError, IndexError, NotImplementedError, TypeError) as error:
        theirs = error
    step = outcome(ng, function, *rest)
    before, first = threads.get_num_threads(), None
    tolerance = TOLERANCES[dtype]
    try:
        for count in (1, 2, 3, 2, 1):
            threads.set_num_threads(count)
            for again in range(2):
                ours = arrays_of(ng, step())
                if first is None:
                    first = ours
                    if isinstance(theirs, Exception):
                        found.append(f"accepted; PyTorch: {type(theirs).__name__}: {str(theirs)[:150]}")
                    else:
                        compare("PyTorch", ours, theirs, tolerance, found)
                else:
                    compare(f"{count} threads, call {again}", ours, first, tolerance, found)
        if compiled:
            whole = ng.compile(step)
            for count in (1, 2, 3, 1, 2):
                threads.set_num_threads(count)
                for again in range(3):
                    compare(f"compiled, {count} threads, call {again}", arrays_of(ng, whole()), first, tolerance, found)
    except (RuntimeError, ValueError, IndexError, NotImplementedError, TypeError) as error:
        if not isinstance(theirs, Exception):
            found.append(f"refused: {type(error).__name__}: {str(error)[:200]}")
    finally:
        threads.set_num_threads(before)
    return text, found


def main(count=200, seed=1, word=""):
    warnings.simplefilter("ignore")
    names, bad = [n for n in CALLS if word in n], 0
    for k in range(int(count)):
        name = names[k % len(names)]
        number = int(seed) * 100_000 + k
        text, found = differences(name, number, compiled=k % 5 == 0)
        if found:
            bad += 1
            print(f"{text} [{name!r}, {number}]: " + "\n  ".join(found[:4]), flush=True)
    print(f"{bad} of {count} calls differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
