"""Gradients of every op with samples, for random calls: ``python -m tests.fuzz.gradients [rounds] [word]``.

A call is a sample with new numbers of one of these kinds: plain, with repeated values, with zeros, strided, complex. First and
second derivatives along a random direction are held against PyTorch's, for float64 and complex128."""

import sys
import warnings

import numpy as np
from parity import torch as pytorch
from registry.draw import REGISTRY, cases, flat, ops
from registry.known import GRADIENTS
from registry.oracle import torch_function, torch_values

import numbagrad as ng

__all__ = ["REGISTRY", "calls", "differences"]
KINDS = ("plain", "repeated", "zeros", "strided", "complex")
TOLERANCE = 1e-7
NO_COMPLEX = "no complex kernels: refused by name"
# Differences that are meant: (op, kind of call) and the reason.
KNOWN = {
    ("logit", "zeros"): "outside of eps the derivative is 0 to every order; PyTorch divides by 0 there",
    ("prelu", "zeros"): "PyTorch's second derivative takes the slope 1 at 0, its first one the weight, which both are here",
    ("atan2", "zeros"): "at (0, 0) the first derivative is 0 by definition and so is the second; NaN in PyTorch",
    ("copysign", "zeros"): "the derivative at 0 is 0 by definition; PyTorch's second one divides by 0",
    ("addcdiv", "zeros"): "a division by 0: which of inf and NaN depends on the intermediate quotients",
    ("kl_div", "zeros"): "the derivative for a target of 0 is 0, as its value is; PyTorch's is 0 / 0",
    ("scatter_reduce", "zeros"): "PyTorch counts a tie with the element that include_self=False leaves out",
    ("cosine_similarity", "zeros"): "vectors of zeros, whose norm has the second derivative 0; NaN in PyTorch",
    **{(op, kind): "the derivative where the deviation is 0 is 0 by definition; PyTorch's second one is NaN"
       for op in ("std", "std_mean") for kind in ("repeated", "zeros")},
    ("det", "repeated"): "a polynomial: finite at every matrix; NaN in PyTorch for ranks below n - 1",
    **{(op, "repeated"): "singular values of 0 (rounded): their vectors, and so the derivatives, are LAPACK's choice"
       for op in ("svdvals", "cond", "linalg_norm", "matrix_norm", "pinv")},
    **{(op, "complex"): NO_COMPLEX for op in ("rnn_tanh", "rnn_tanh_cell", "lstm", "lstm_cell", "gru", "gru_cell")},
    **{(op, "complex"): "PyTorch takes a mean where output_size is 1" for op in ("adaptive_avg_pool1d", "adaptive_avg_pool2d")},
}


def values(a, kind, rng):
    """New numbers for ``a``: those of the sample (its domain counts) in another order, changed as the kind says."""
    a = rng.permutation(a.ravel()).reshape(a.shape) if a.size > 1 else a.copy()
    if kind == "repeated" and a.size:
        a = np.full(a.shape, a.ravel()[0])
    elif kind == "zeros" and a.size:
        a = np.where(rng.random(a.shape) < 0.4, 0.0, a)
    elif kind == "complex":
        a = a + 1j * rng.uniform(-1, 1, a.shape)
    return a


def leaf(library, a, kind):
    t = library.tensor(a.tolist(), dtype=library.complex128 if a.dtype.kind == "c" else library.float64)
    t = t.reshape(a.shape)
    if kind == "strided" and a.ndim > 1:  # the same numbers in column-major memory
        order = tuple(reversed(range(a.ndim)))
        t = t.permute(order).contiguous().permute(order)
    return t.detach().requires_grad_()


def constant(library, a):
    return library.tensor(np.array(a)) if library is ng else library.from_numpy(np.array(a))


def array(t):
    return t.detach().numpy() if isinstance(t, ng.Tensor) else t.detach().resolve_conj().resolve_neg().numpy()


def drawn(like, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 1.5, a.shape) + (1j * rng.uniform(-1, 1, a.shape) if a.dtype.kind == "c" else 0) for a in like]


def derivatives(library, call, arrays, wanted, kind):
    """Values, gradients and gradients of gradients of one call; what does not exist is zeros."""
    tensors = [leaf(library, a, kind) if k in wanted else constant(library, a) for k, a in enumerate(arrays)]
    made = (flat if library is ng else torch_values)(call(tensors))
    outs = [o for o in made if o.requires_grad]
    if not outs:
        return [array(o) for o in made], None, None
    inputs = [tensors[k] for k in wanted]
    ws = [constant(library, w).requires_grad_() for w in drawn([array(o) for o in outs], 1)]
    first = library.autograd.grad(outs, inputs, ws, create_graph=True, allow_unused=True)
    pairs = [(g, constant(library, v)) for g, v in zip(first, drawn([arrays[k] for k in wanted], 9))
             if g is not None and g.requires_grad]
    second = [None] * (len(inputs) + len(ws))
    if pairs:
        second = library.autograd.grad([g for g, _ in pairs], [*inputs, *ws], [v for _, v in pairs], allow_unused=True)
    return ([array(o) for o in made], zeros(first, inputs), zeros(second, [*inputs, *ws]))


def zeros(grads, like):
    return [np.zeros(tuple(t.shape), array(t).dtype) if g is None else array(g) for g, t in zip(grads, like)]


def differences(op, case, kind, rng):
    """What differs from PyTorch in one random call, as texts; None where either library refuses it."""
    function = torch_function(op)
    wanted = [k for k, (a, s) in enumerate(zip(case.arrays, case.specs)) if a.dtype.kind == "f" and s[0] != "constant"]
    if function is None or not wanted:
        return None
    arrays = [values(a, kind, rng) if k in wanted else a for k, a in enumerate(case.arrays)]
    try:
        theirs = derivatives(pytorch(), lambda ts: case.call(ts, function), arrays, wanted, kind)
    except Exception:
        return None  # refused there, wholly or in a derivative
    try:
        ours = derivatives(ng, case.call, arrays, wanted, kind)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        return [f"refused here: {str(error)[:120]}"]
    found = []
    for what, a, b in zip(("value", "first derivative", "second derivative"), ours, theirs):
        if (a is None) != (b is None):
            found.append(f"{what}: only one library has it")
        elif a is not None and not all(x.shape == y.shape and np.allclose(x, y, TOLERANCE, TOLERANCE, equal_nan=True)
                                       for x, y in zip(a, b)):
            found.append(f"{what}: {a}\n  PyTorch {b}")
    return found


def calls(rounds=1, word=""):
    """(op, case, kind, seed) of all random calls."""
    for seed in range(rounds):
        for op in ops(private=False):
            if word in op.name and op.differentiable and op.name not in GRADIENTS and op.dtypes in ("any", "float"):
                for case in cases(op):
                    for kind in KINDS:
                        yield op, case, kind, seed


def main(rounds=1, word=""):
    warnings.simplefilter("ignore")
    tried = bad = 0
    for op, case, kind, seed in calls(int(rounds), word):
        found = differences(op, case, kind, np.random.default_rng(seed))
        tried += found is not None
        if found and (op.name, kind) not in KNOWN:
            bad += 1
            print(f"{case} {kind} {seed}: " + "\n  ".join(found), flush=True)
    print(f"{bad} of {tried} calls differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
