"""Every op with its kernels cut into pieces on several threads, whatever the size: the results and gradients of one thread."""

import contextlib

import numpy as np
import pytest
from registry.check import grad_outputs, same
from registry.draw import ONLY, REGISTRY, cases, floats, ids, ops

import numbagrad as ng
from numbagrad.dispatch import plan
from numbagrad.kernel import threads

CUT = [op for op in ops(private=False) if op.kind != "view"]


@contextlib.contextmanager
def pieces(count=3):
    """Every kernel that takes a range gets it in up to ``count`` pieces; the list that comes holds one entry for each cut."""
    before, serial, plain, cuts = threads.get_num_threads(), dict(threads.SERIAL_BELOW), threads.parallel_for, []

    def counted(fn, table, n, grain, *addresses):
        if n > grain:
            cuts.append((n, grain))
        return plain(fn, table, n, grain, *addresses)
    threads.set_num_threads(count)
    threads.SERIAL_BELOW.update(dict.fromkeys(serial, 1))
    threads.LIMIT[0], threads.parallel_for = 2, counted
    try:
        yield cuts
    finally:
        threads.SERIAL_BELOW.update(serial)
        threads.parallel_for = plain
        threads.set_num_threads(before)  # (which sets LIMIT too)


def results(case, ws):
    """The results of a case, then the gradients."""
    wanted = case.differentiable if case.op.differentiable else []
    tensors = case.tensors()
    for k in wanted:
        tensors[k].requires_grad_()
    out = case.call(tensors)
    graded = [o for o in floats(out) if o.requires_grad]
    if not graded:
        return out, []
    return out, ng.autograd.grad(graded, [tensors[k] for k in wanted], [ng.tensor(w) for w in ws], allow_unused=True)


@pytest.mark.parametrize("op", CUT, ids=ids)
def test_pieces_equal_the_whole(op):
    for case in cases(op):
        ws = grad_outputs(case.call, case.arrays, case.differentiable, 0) if op.differentiable else []
        whole, gradients = results(case, ws)
        with pieces():
            parts, others = results(case, ws)
        same(parts, whole, f"{case} in pieces", 16)
        assert [g is None for g in others] == [g is None for g in gradients]
        same([g for g in others if g is not None], [g for g in gradients if g is not None], f"gradient of {case} in pieces", 32)


@pytest.mark.parametrize("op", CUT, ids=ids)
def test_planned_calls_in_pieces_equal_the_whole(op):
    """What is written down on several threads is cut in every call that repeats it, on one thread it is whole again."""
    case = next(iter(cases(op)), None)
    if case is None:
        return
    ws = grad_outputs(case.call, case.arrays, case.differentiable, 0) if op.differentiable else []
    whole, gradients = results(case, ws)
    with pieces():
        for _ in range(plan.TIMES + 2):
            several = results(case, ws)
    for parts, others in (several, results(case, ws)):
        same(parts, whole, f"{case} in planned pieces", 16)
        same([g for g in others if g is not None], [g for g in gradients if g is not None], f"gradient of {case}", 32)


@pytest.mark.parametrize("call", [lambda a: a + a[0], lambda a: a.sum(), lambda a: a.cumsum(1), lambda a: a * 3],
                         ids=["row", "sum", "cumsum", "number"])
def test_a_plan_cuts_large_calls(call, monkeypatch):
    """Kernels of a plan that is made with several threads are cut in it, so that it holds for large calls."""
    made, plain, before = [], plan.finished, threads.get_num_threads()

    def finished(plans, recorder, *rest):
        made.append(recorder)
        return plain(plans, recorder, *rest)
    monkeypatch.setattr(plan, "finished", finished)
    a = ng.ones(300, 401)
    threads.set_num_threads(2)
    limit = threads.LIMIT[0]
    try:
        found = [call(a).tolist() for _ in range(plan.TIMES + 2)]
        threads.set_num_threads(1)
        assert found == [call(a).tolist()] * len(found)
    finally:
        threads.set_num_threads(before)
    assert made[-1].steps[0][0] is threads.parallel_call and made[-1].most < limit


# Of each way to be cut; products and sums of one long row are cut by sizes of their own: test_blas.py, test_reductions.py.
PARALLEL = """add where exp sum mean prod amax std max softmax log_softmax logsumexp layer_norm batch_norm group_norm conv2d
unfold cross_entropy norm lstm gru rnn_tanh scaled_dot_product_attention""".split()


@pytest.mark.parametrize("name", [n for n in PARALLEL if not ONLY or n in ONLY])
def test_kernels_are_cut(name):
    """The test above would pass if nothing were cut."""
    found = []
    for case in cases(REGISTRY[name]):
        with pieces() as cuts:
            results(case, grad_outputs(case.call, case.arrays, case.differentiable, 0))
        found += cuts
    assert found, f"no kernel of {name} was cut"


def _long(call):
    """The result of a call on two threads and how often a kernel was cut in it, beside that of one thread."""
    before, plain, cuts = threads.get_num_threads(), threads.parallel_for, []

    def counted(fn, table, n, grain, *addresses):
        cuts.append(min(2, -(-n // grain)))
        return plain(fn, table, n, grain, *addresses)
    try:
        threads.set_num_threads(1)
        whole = call()
        threads.set_num_threads(2)
        threads.parallel_for = counted
        return call(), whole, cuts.count(2)
    finally:
        threads.parallel_for = plain
        threads.set_num_threads(before)


DRAWN = np.random.default_rng(3)
ROWS, PLACES = (ng.tensor(DRAWN.integers(0, 200, shape)) for shape in ((300,), (200, 700)))
A, B, S = (ng.tensor(DRAWN.standard_normal(shape)) for shape in ((200, 700), (300, 700), ()))


def _spread(call):
    """The gradient of a call by ``A``."""
    def run():
        a = A.detach().requires_grad_()
        out = call(a)
        return ng.autograd.grad(out, a, ng.ones_like(out) * 0.7)[0]
    return run


@pytest.mark.parametrize("call", [
    lambda: A.index_add(0, ROWS, B), lambda: A.index_copy(0, ROWS, B), lambda: A.index_put((ROWS,), B),
    lambda: A.scatter(1, PLACES, A), lambda: A.scatter_add(1, PLACES, A), _spread(lambda a: a[ROWS]),
    _spread(lambda a: a.gather(1, PLACES)), _spread(lambda a: a.index_select(0, ROWS)), lambda: A * S, lambda: A.view(-1) + S,
    lambda: A.view(-1).dot(A.view(-1) * 2), lambda: A.clone().zero_(), lambda: A.topk(3)[1], lambda: A.kthvalue(5)[1],
    lambda: A.index_fill(0, ROWS, 2.0),
], ids="add copy put scatter scatter_add getitem gather select number vector dot zero_ topk kthvalue fill".split())
def test_places_and_rows_are_shared(call):
    """Indices name places more than once: whoever writes a place writes all that comes there, in order. Calls that are planned,
    and steps that are compiled, are cut alike."""
    parts, whole, cuts = _long(call)
    assert cuts
    planned, _, cuts = _long(lambda: [call() for _ in range(plan.TIMES + 3)][-1])
    assert cuts >= plan.TIMES
    compiled = ng.compile(call)
    for found in (parts, planned, *[_long(compiled)[0] for _ in range(2)]):
        np.testing.assert_array_equal(found.detach().numpy(), whole.detach().numpy())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", [ng.float32, ng.float64])
def test_long_dot(count, dtype):
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        for n in (131072, 131073, 200001):
            a, b = (DRAWN.standard_normal(n).astype(str(dtype).rpartition(".")[2]) for _ in range(2))
            wanted = a.astype("f8") @ b.astype("f8")
            for call in ("dot", "vdot"):
                assert abs(getattr(ng.tensor(a), call)(ng.tensor(b)).item() - wanted) < 1e-3 * n ** 0.5
    finally:
        threads.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2])
def test_large_tensors_are_equal_to_the_last_element(count):
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        for at in (0, 4095, 4096, 70000, A.numel() - 1):
            other = A.clone()
            assert A.equal(other) and A.equal(A)
            other.view(-1)[at] = ng.nan
            assert not A.equal(other) and not other.equal(A) and not other.equal(other) and A.equal(A.clone())
    finally:
        threads.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 12, 4095, 4096, 4097])
def test_equal_looks_at_no_element_behind(n):
    """The first look of one thread ends with the tensors, however few elements threads are asked for."""
    a, b = ng.ones(5000), ng.ones(5000)
    b[n:] = 0
    with pieces():
        assert a[:n].equal(b[:n]) and not a[:n + 1].equal(b[:n + 1])


def in_place(t, number):
    """What writes over all of a tensor, twice: the second call takes the short way."""
    for _ in range(2):
        t.mul_(number)
        t.add_(2)
        t.sub_(t.flip(0))
        t.copy_(t.roll(1, 0))
        t[:7].fill_(number)
    return t


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int16", "bfloat16", "bool"])
def test_writes_over_large_tensors_are_cut(dtype):
    dtype, values = getattr(ng, dtype), np.random.default_rng(1).integers(0, 3, 2000)
    if dtype is ng.bool:
        a, b = ng.tensor(values).to(dtype), ng.zeros(2000, dtype=dtype)
        with pieces() as cuts:
            for _ in range(2):
                b.copy_(a)
                b.fill_(True)
        assert bool(b.all())
        assert len(cuts) >= 4
        return
    number = 1.5 if dtype.is_floating_point else 3
    whole = in_place(ng.tensor(values).to(dtype), number)
    t = ng.tensor(values).to(dtype)
    with pieces() as cuts:
        part, version = in_place(t, number), t._version
    assert part is t
    assert version == whole._version
    assert ng.equal(part, whole)
    assert len(cuts) >= 12


def test_a_number_beyond_the_dtype_is_refused_on_threads():
    t = ng.zeros(100)
    with pieces():
        for _ in range(2):
            t.mul_(2)
            with pytest.raises((OverflowError, RuntimeError)):
                t.mul_(10 ** 400)
