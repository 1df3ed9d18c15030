"""Every op of the registry in a batch against a loop, with many rows of gradients, in forward mode against its transpose."""

import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch.sampling import Case, flat

SIZE = 3
NAMES = [op.name for op in REGISTRY.values() if op.samples and not op.random]
# What PyTorch refuses as well: results whose size or text depends on values.
REFUSED = {"argwhere", "masked_select", "nonzero", "unique", "unique_consecutive", "gaussian_nll_loss", "histogram",
           "histogramdd", "equal", "allclose", "isclose"}
# Ops without a rule, which run in a loop.
LOOPS = {"add_bags", "among", "as_strided", "attention_gradient", "bag_maxima", "bag_sums", "bincount", "blocks", "collect",
         "combinations", "cross_entropy_fused", "histc", "index_fill", "index_put", "index_reduce", "layout", "linalg_pinv",
         "masked_scatter", "nll_spread", "number_at", "one_hot", "own_class", "piled", "put", "put_at", "rank_of", "recurrent",
         "recurrent_gradient", "repeat_interleave", "returned", "scatter", "spread", "take", "taken", "taken_by_mask",
         "binary_cross_entropy", "counted",
         # (its lengths say where the target of each sequence begins; each two of its rows; places count within all rows)
         "ctc_values", "pair_norms", "pair_slopes", "quantiles", "quantile_gradient",
         "nonzero_static",  # (how many there are depends on values; a loop in PyTorch as well)
         "_tbc", "_tbc_back", "_tbc_weight"}  # (a product for each tap, added where it lies)


def cases(name):
    for i in range(len(REGISTRY[name].samples)):
        case = Case(REGISTRY[name], i)
        if case.specs:
            yield case


def batches(case):
    """For each array several with the same numbers in another order."""
    out = []
    for k, a in enumerate(case.arrays):
        rng = np.random.default_rng(k)
        out.append(np.stack([a] + [rng.permutation(a.reshape(-1)).reshape(a.shape) for _ in range(SIZE - 1)]))
    return out


def choices(case):
    """Sets of the tensors that get a batch: each alone, and all; given numbers only where there are no drawn ones."""
    free = [k for k, spec in enumerate(case.specs) if spec[0] != "constant"] or list(range(len(case.specs)))
    return [[k] for k in free] + ([free] if len(free) > 1 else [])


def looped(case, stacks, chosen):
    """(tensors of each element, results of each), or None where an element is refused or sizes differ."""
    rows = [case.tensors(arrays=[s[r] if k in chosen else a for k, (a, s) in enumerate(zip(case.arrays, stacks))])
            for r in range(SIZE)]
    try:
        found = [flat(case.call(row)) for row in rows]
    except Exception:
        return None
    if not found[0] or any(len({t.shape for t in column}) > 1 for column in zip(*found)):
        return None
    return rows, found


def told(caught):
    """Names of the ops that ran in a loop."""
    texts = [str(w.message) for w in caught]
    return {t.partition("aten::")[2].partition(".")[0] for t in texts if "performance drop" in t}


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop(name):
    if name in REFUSED:
        pytest.skip("the result depends on values, which PyTorch refuses as well")
    done = 0
    for case in cases(name):
        stacks = batches(case)
        for chosen in choices(case):
            known = looped(case, stacks, chosen)
            if known is None or (name == "one_hot" and case.index == 1):
                continue
            rows, found = known
            done += 1
            inputs = [ng.tensor(s) if k in chosen else t for k, (s, t) in enumerate(zip(stacks, rows[0]))]
            dims = tuple(0 if k in chosen else None for k in range(len(inputs)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                got = ng.vmap(lambda *t, case=case: tuple(flat(case.call(list(t)))), in_dims=dims)(*inputs)
            assert told(caught) <= LOOPS
            for g, column in zip(got, zip(*found)):
                assert g.dtype is column[0].dtype
                np.testing.assert_allclose(g.detach().array(), np.stack([c.detach().array() for c in column]), 1e-7, 1e-9)
    assert done, "no sample was tried"


def recorded(case):
    """(inputs, tensors with gradients wanted, differentiable results), or None."""
    if not case.op.differentiable or not case.differentiable:
        return None
    inputs = case.tensors(requires_grad=True)
    outs = [o for o in flat(case.call(inputs)) if o.requires_grad]
    return (inputs, [inputs[k] for k in case.differentiable], outs) if outs else None


def directions(tensors, seed, *lead):
    rng = np.random.default_rng(seed)
    found = []
    for t in tensors:
        a = rng.normal(size=(*lead, *t.shape))
        found.append(ng.tensor(a + 1j * rng.normal(size=a.shape) if t.dtype.is_complex else a))
    return found


def inner(a, b):
    return float((a.array().conj() * b.array()).sum().real)


@pytest.mark.parametrize("name", [n for n in NAMES if REGISTRY[n].differentiable])
def test_many_rows_of_gradients_are_a_loop(name):
    for case in cases(name):
        known = recorded(case)
        if known is None:
            continue
        _, wanted, outs = known
        weights = directions(outs, 1, SIZE)
        rows = [ng.autograd.grad(outs, wanted, [w[r] for w in weights], retain_graph=True, allow_unused=True)
                for r in range(SIZE)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = ng.autograd.grad(outs, wanted, weights, retain_graph=True, allow_unused=True, is_grads_batched=True)
        assert told(caught) <= LOOPS
        for g, column in zip(got, zip(*rows)):
            if g is None or column[0] is None:
                assert all(t is None or not np.any(t.array()) for t in (g, *column))
                continue
            np.testing.assert_allclose(g.detach().array(), np.stack([c.detach().array() for c in column]), 1e-7, 1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if REGISTRY[n].differentiable])
def test_forward_mode_is_the_transpose_of_reverse_mode(name):
    for case in cases(name):
        known = recorded(case)
        if known is None:
            continue
        _, wanted, _ = known
        plain = case.tensors()

        def call(*xs, case=case, plain=plain):
            given = list(plain)
            for k, x in zip(case.differentiable, xs):
                given[k] = x
            return tuple(o for o in flat(case.call(given)) if o.dtype.is_floating_point or o.dtype.is_complex)
        results = call(*wanted)
        along = directions(wanted, 2)
        values, slopes = ng.func.jvp(call, tuple(t.detach() for t in wanted), tuple(along))
        for v, r in zip(values, results):
            np.testing.assert_allclose(v.detach().array(), r.detach().array(), 1e-12)
        left, outs, weights = 0.0, [], []
        for s, r in zip(slopes, results):
            if not r.requires_grad:
                assert not np.any(s.array())
                continue
            w = directions([r], 3)[0]
            outs.append(r)
            weights.append(w)
            left += inner(w, s)
        grads = ng.autograd.grad(outs, wanted, weights, allow_unused=True)
        right = sum(inner(g, t) for g, t in zip(grads, along) if g is not None)
        np.testing.assert_allclose(left, right, 1e-7, 1e-9)
