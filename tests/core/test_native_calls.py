"""Planned calls by the native function (``core.replay``): what it finds, what it makes, what it leaves alone."""

import gc
import itertools
import sys
import weakref

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import plan

F = ng.nn.functional
pytestmark = pytest.mark.skipif(not replay.POSSIBLE, reason="no native calls on this platform")


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Plans are made in the second call, and the native function is there."""
    monkeypatch.setattr(plan, "TIMES", 2)
    replay.start()
    plan.forget()
    assert replay.STARTED


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """Functions that got no programs in tests before try again."""
    for op in REGISTRY.values():
        programs = getattr(op, "programs", None)
        if programs is not None:
            programs.refused = programs.idle = 0
            for env in programs.users:
                env["COUNT_"] = True
            programs.hold(False, "tests")


def often(function, times=4):
    return [function() for _ in range(times)][-1]


def native(name, *arguments, record=True):
    """What the native function alone makes of a call: None where there is no program."""
    return REGISTRY[name].callable.__globals__["replay_"](record, *arguments)


def chain(node, depth=3):
    """Names of the nodes behind a result."""
    return [type(node).__name__, *[chain(n, depth - 1) for n, _ in node.next_functions if n is not None and depth]]


def test_usual_calls_are_native():
    x, y, row = ng.rand(3, 4), ng.rand(3, 4), ng.rand(4)
    often(lambda: (x + y, x + row, x.cumsum(1), x.sum(1), x.exp(), F.avg_pool2d(x[None], 2), F.mse_loss(x, y)))
    assert native("add", x, y).tolist() == native("add", x, y).tolist() == (x + y).tolist()
    assert native("add", x, row).tolist() == (x + row).tolist()
    assert native("exp", x).tolist() == x.exp().tolist()
    assert native("sum", x, 1, False).tolist() == x.sum(1).tolist()
    assert native("cumsum", x, None, 1, None).tolist() == x.cumsum(1).tolist()
    assert native("mse_loss", x, y, None, None, None, "mean").item() == F.mse_loss(x, y).item()


def test_what_differs_has_no_program():
    x = ng.rand(3, 4)
    often(lambda: x.sum(1))
    assert native("sum", x, 1, False) is not None
    for other in ((x, 0, False), (x, 1, True), (x, True, False), (x, 1.0, False), (x.double(), 1, False), (x.t(), 1, False),
                  (x[:2], 1, False), (x[None], 1, False), (x.numpy(), 1, False), (None, 1, False), (3, 1, False)):
        assert native("sum", *other) is None, other


def test_sizes_are_compared_by_value():
    """Python keeps one object only of small numbers."""
    for n in (700, 701, 700):
        x = ng.ones(n, 2)
        assert often(lambda x=x: x.sum(0)).tolist() == [n, n]
        assert native("sum", ng.ones(int(str(n)), 2), 0, False).tolist() == [n, n]


def test_zeros_of_both_signs_and_numbers_of_all_classes_are_told_apart():
    x, mask = ng.tensor([1.0, 2.0]), ng.tensor([True, False])
    for v in (0.0, -0.0, 1, 1.0, True, -0.0, 2, 0.0):
        assert np.signbit(often(lambda v=v: x.masked_fill(mask, v)).numpy()[0]) == np.signbit(v)
        assert often(lambda v=v: x * v).tolist() == [v, 2 * v]
        assert often(lambda v=v: ng.lerp(x, x + 1, v)).tolist() == [1 + v, 2 + v]


def test_numbers_that_no_kernel_holds_are_refused_as_ever():
    x = ng.arange(3)
    often(lambda: x * 5)
    with pytest.raises((RuntimeError, OverflowError)) as planned:
        x * (1 << 70)
    plan.forget()
    with pytest.raises((RuntimeError, OverflowError)) as plain:
        x * (1 << 70)
    assert str(planned.value) == str(plain.value) and (x * 5).tolist() == [0, 5, 10]


def test_nodes_are_those_of_the_call():
    x, y = ng.rand(3, 4, requires_grad=True), ng.rand(3, 4, requires_grad=True)
    calls = {"mul": lambda a, b: a * b, "cos": lambda a, b: F.cosine_similarity(a, b), "var": lambda a, b: a.var(1),
             "max": lambda a, b: a.max(1)[0], "norm": lambda a, b: F.layer_norm(a, (4,)),
             "lerp": lambda a, b: ng.lerp(a, b, 0.3), "turned": lambda a, b: a.t() * 2.5,
             "pool": lambda a, b: F.max_pool2d(a[None], 2), "double": lambda a, b: a * b.double(),
             "loss": lambda a, b: F.cosine_embedding_loss(a, b.detach(), ng.ones(3)), "diff": lambda a, b: ng.diff(a)}
    for call in calls.values():
        for a, b in ((x, y), (x, y.detach()), (x.detach(), y), (x * 1, y * 1)):
            plan.forget()
            plain = call(a, b)
            planned = often(lambda call=call, a=a, b=b: call(a, b))
            assert planned.requires_grad == plain.requires_grad
            if plain.requires_grad:
                assert chain(planned.grad_fn) == chain(plain.grad_fn)
                wanted = [t for t in (a, b) if t.requires_grad]
                sums = [ng.autograd.grad(t.sum(), wanted, create_graph=True, allow_unused=True) for t in (plain, planned)]
                for g, h in zip(*sums):
                    assert (g is None) == (h is None) and (g is None or g.tolist() == h.tolist())


def test_second_derivatives_go_through_programs():
    x = ng.rand(3, 4, dtype=ng.float64, requires_grad=True)

    def twice():
        g, = ng.autograd.grad(F.cosine_similarity(x, x * x + 1).pow(2).sum(), x, create_graph=True)
        h, = ng.autograd.grad(g.pow(2).sum(), x)
        return h
    first = twice()
    assert np.allclose(often(twice).numpy(), first.numpy(), rtol=1e-12)


def test_modes_are_heeded():
    x = ng.rand(3, 4, requires_grad=True)
    often(lambda: F.layer_norm(x, (4,)))
    with ng.no_grad():
        assert often(lambda: F.layer_norm(x, (4,))).grad_fn is None
        assert often(lambda: x.cumsum(1)).grad_fn is None
    with ng.inference_mode():
        assert often(lambda: F.layer_norm(x, (4,))).is_inference()
    assert F.layer_norm(x, (4,)).grad_fn is not None and x.cumsum(1).grad_fn is not None


def test_views_of_what_was_changed_have_a_new_history():
    base = ng.ones(3, 4, requires_grad=True)
    often(lambda: (base * 1)[0].cumsum(0))
    y = base * 1
    row = y[0]
    y.mul_(3)
    out = row.cumsum(0)
    out.sum().backward()
    assert out.tolist() == [3, 6, 9, 12] and base.grad[0].tolist() == [12, 9, 6, 3]


def test_errors_of_kernels_are_raised_and_forgotten():
    x, good, bad = ng.arange(12.0).reshape(3, 4).requires_grad_(), ng.tensor([0, 1, 3]), ng.tensor([0, 1, 4])
    often(lambda: F.cross_entropy(x, good))
    wanted = F.cross_entropy(x, good).item()
    for _ in range(3):
        with pytest.raises(IndexError, match="out of bounds"):
            F.cross_entropy(x, bad)
        assert F.cross_entropy(x, good).item() == wanted


def test_values_are_refused_by_programs():
    x, good, bad = ng.arange(12.0).reshape(3, 4).requires_grad_(), ng.tensor([0, 1, 3]), ng.tensor([0, 1, 4])
    wanted = often(lambda: F.multi_margin_loss(x, good)).item()
    assert native("multi_margin_loss", x, good, None, None, None, 1, 1.0, "mean").item() == wanted
    for _ in range(3):
        with pytest.raises(RuntimeError, match="target out of range"):
            F.multi_margin_loss(x, bad)
        assert F.multi_margin_loss(x, good).item() == wanted


def test_garbage_may_run_the_same_program():
    """The collector runs finalizers in the midst of a call."""
    x, seen = ng.arange(4.0), []
    often(lambda: x.cumsum(0).sum())

    class Loop:
        def __init__(self):
            self.me = self
            weakref.finalize(self, lambda: seen.append((x * 0).cumsum(0).tolist() + [(x * 0).sum().item()]))
    threshold = gc.get_threshold()
    try:
        for i in range(600):
            gc.disable()
            Loop()
            gc.set_threshold(1 + i % 30)
            gc.enable()
            assert x.cumsum(0).tolist() == [0, 1, 3, 6] and x.sum().item() == 6
    finally:
        gc.enable()
        gc.set_threshold(*threshold)
    assert len(seen) > 100 and all([s == [0.0] * 5 for s in seen])


def test_nothing_is_kept():
    x, row = ng.rand(3, 4, requires_grad=True), ng.rand(4)
    calls = [lambda: x + row, lambda: x.exp(), lambda: x.max(1), lambda: F.cosine_similarity(x, x), lambda: x.t() * 2.5,
             lambda: F.layer_norm(x, (4,))]
    for call in calls:
        often(call)
    watched = [None, True, False, 0, x, row, x._kind, x._shape, x._ver, ng.Tensor]
    gc.collect()
    for call in calls:
        before = [sys.getrefcount(w) for w in watched]
        for _ in range(200):
            call()
        gc.collect()
        after = [sys.getrefcount(w) for w in watched]
        assert max([abs(a - b) for a, b in zip(after, before)]) < 60
    out = F.cosine_similarity(x, x)
    alive = weakref.ref(out)
    node = weakref.ref(out.grad_fn)
    del out
    assert alive() is None and node() is None


def test_functions_of_users_are_run_each_time():
    from numbagrad.extend import function
    factor = [1.0]

    @function(registered=False)
    def scaled_by_global(input):
        """A function that depends on more than its arguments."""
        return input * factor[0]
    x, call = ng.ones(3), scaled_by_global.callable
    assert often(lambda: call(x)).tolist() == [1.0] * 3
    factor[0] = 2.0
    assert often(lambda: call(x)).tolist() == [2.0] * 3


def test_functions_that_look_at_values_are_not_looked_up():
    x = ng.tensor([1.0, 2.0])
    assert often(lambda: ng.allclose(x, x + 0)) is True and ng.allclose(x, x + 1) is False
    assert REGISTRY["allclose"].callable.__globals__["LOOK_"] is False


def test_many_geometries_do_not_pile_up():
    row = ng.ones(1)
    for n in range(1, 1200):
        x = ng.ones(n % 600 + 1, 2)
        assert often(lambda x=x: x + row, 3)[-1].tolist() == [2.0, 2.0]
    lines = REGISTRY["add"].form("tt").calls.buckets
    assert lines and max(map(len, lines)) <= replay.DEPTH


def test_the_default_dtype_changes_what_functions_make():
    x = ng.arange(6).reshape(2, 3)
    assert often(lambda: F.softmax(x.float(), 1).dtype) is ng.float32
    assert often(lambda: ng.logsumexp(x, 1)).dtype is ng.float32
    ng.set_default_dtype(ng.float64)
    try:
        assert often(lambda: ng.logsumexp(x, 1)).dtype is ng.float64
    finally:
        ng.set_default_dtype(ng.float32)


def test_without_native_calls_all_is_as_before(monkeypatch):
    """An interpreter whose objects lie in another way: the function is tried, and not taken."""
    replay.player.cache_clear()
    monkeypatch.setattr(replay, "POSSIBLE", False)
    assert replay.player() is None
    replay.player.cache_clear()


def test_numbers_that_are_too_large_or_have_no_order():
    x, y, f = ng.tensor([1, 2]), ng.tensor([1, 2], dtype=ng.int8), ng.ones(2)
    often(lambda: (x + 3, x * 3, x != 3, ng.bitwise_left_shift(x, 3), f + 3, f * 3, F.hardtanh(f, -1, 1.5), F.mse_loss(f, f)))
    for low, high in itertools.product((-1, -1.0), (2, 1.5)):
        assert native("hardtanh", f, low, high).tolist() == [1.0, 1.0]
    for call in (lambda: x * (-2**63 - 1), lambda: x != 2**64, lambda: ng.bitwise_left_shift(x, 2**64), lambda: y + 2**64):
        with pytest.raises(OverflowError, match="int too big to convert|can't convert negative int to unsigned"):
            call()
    # Up to 64 bits without a sign they are taken, and wrap around.
    found = [t.tolist() for t in (x + 2**63, x != 2**64 - 1, ng.bitwise_left_shift(x, 2**63), y + 2**63)]
    assert found == [[1 - 2**63, 2 - 2**63], [True, True], [0, 0], [1, 2]]
    assert (x + (2**62)).tolist() == [2**62 + 1, 2**62 + 2]
    with pytest.raises(OverflowError, match="int too"):
        f + 10**400
    with pytest.raises(NotImplementedError):
        F.hardtanh(f, ng.tensor(1j), 1.5)
    assert F.hardtanh(f, ng.tensor(-1.0), 0.5).tolist() == [0.5, 0.5]


# --- lists of tensors -------------------------------------------------------------------------------------------------

JOINS = {"cat": lambda ts: ng.cat(ts), "cat1": lambda ts: ng.cat(ts, 1), "concat": lambda ts: ng.concat(ts, dim=-1),
         "stack": lambda ts: ng.stack(ts, 1), "hstack": ng.hstack, "vstack": ng.vstack, "dstack": ng.dstack,
         "column_stack": ng.column_stack}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("count", (1, 2, 3, 30))
def test_joins_of_lists_are_native(name, count):
    join = JOINS[name]
    ts = [ng.rand(2, 3) for _ in range(count)]
    for needs in ((), (0,), tuple(range(count))):
        given = [t.clone().requires_grad_(i in needs) for i, t in enumerate(ts)]
        wanted = join([t.clone() for t in ts])  # (from the general path)
        for kind in (list, tuple):
            y = often(lambda: join(kind(given)))  # noqa: B023
            assert y.tolist() == wanted.tolist() and y.shape == wanted.shape and y.requires_grad == bool(needs)
        if needs:
            g = ng.rand(*y.shape)
            grads = [often(lambda: ng.autograd.grad(join(given), [given[i] for i in needs], g)) for _ in range(2)]  # noqa: B023
            order = join([6.0 * i + ng.arange(6.0).reshape(2, 3) for i in range(count)]).flatten().argsort()
            for got in grads:
                assert [x for t in got for x in t.flatten().tolist()] == [
                    x for i in needs for x in g.flatten()[order][6 * i:6 * i + 6].tolist()]


def test_programs_of_lists_are_found_by_length_and_geometry():
    a, b = ng.rand(2, 3), ng.rand(4, 3)
    often(lambda: ng.cat([a, b]))
    programs = REGISTRY["cat"].programs
    find = programs.natives[2]
    assert find(True, a, b, None, 0, None).tolist() == [*a.tolist(), *b.tolist()]
    for other in ((b, a, None, 0, None), (a, b, None, 1, None), (a, b.double(), None, 0, None), (a, b, a, 0, None),
                  (a, b.t(), None, 0, None), (a, 3, None, 0, None)):
        assert find(True, *other) is None, other
    assert 30 not in programs.natives


def test_programs_of_any_number_of_tensors():
    """Given one by one or as a list; with the nodes of the calls before them."""
    a, b, c = ng.rand(2, requires_grad=True), ng.rand(3), ng.rand(2)
    for f in (ng.cartesian_prod, ng.block_diag):
        wanted, nodes = f(a, b), chain(f(a, b).grad_fn)
        for call in (lambda: f(a, b), lambda: f([a, b]), lambda: f((a, b))):  # noqa: B023
            y = often(call)
            assert y.tolist() == wanted.tolist() and chain(y.grad_fn) == nodes
        programs = REGISTRY[f.__name__].programs
        assert programs.natives[2](True, a, b).tolist() == wanted.tolist()
        assert programs.natives[2](True, b, a) is None and programs.natives[2](True, a, 3) is None
        g = ng.rand(*wanted.shape)
        assert ng.autograd.grad(y, a, g)[0].tolist() == ng.autograd.grad(wanted, a, g)[0].tolist()
        assert often(lambda: f(a, b, c)).shape == f(a.detach(), b, c).shape  # noqa: B023
        with pytest.raises(TypeError, match="element 1"):
            f(a, 3)
    assert often(lambda: ng.block_diag()).shape == (1, 0)


def test_what_is_no_list_of_tensors_is_refused_after_planned_calls():
    a = ng.rand(2, 3)
    often(lambda: ng.cat([a[0], a[1]]))
    for wrong, error, text in ((a, TypeError, "must be tuple of Tensors"), ([a[0], 1.0], TypeError, "element 1"),
                               ([a[0], a], RuntimeError, "same number of dimensions"), ([], ValueError, "non-empty"),
                               ({0: a[0], 1: a[1]}, TypeError, "must be tuple of Tensors")):
        with pytest.raises(error, match=text):
            ng.cat(wrong)
    out = ng.empty(6)
    assert often(lambda: ng.cat([a[0], a[1]], out=out)) is out and out.tolist() == a.flatten().tolist()
    with pytest.raises(IndexError, match="Dimension out of range"):
        often(lambda: ng.cat([a, a], 2))


def test_lists_of_views_and_changed_tensors():
    base = ng.rand(4, 3, requires_grad=True)
    y = often(lambda: ng.cat([base[:2], base[2:]]).sum())
    assert chain(y.grad_fn)[:1] == ["SumBackward0"] and y.grad_fn.next_functions[0][0].name() == "CatBackward0"
    y.backward()
    assert base.grad.tolist() == ng.ones(4, 3).tolist()
    with ng.no_grad():
        assert not often(lambda: ng.cat([base, base])).requires_grad
    x = ng.rand(2, 3)
    first = often(lambda: ng.stack([x, x]))
    x.add_(1)
    assert ng.stack([x, x]).tolist() == (first + 1).tolist()


@pytest.mark.parametrize("n", [4, 64])
def test_long_calls_of_lapack_let_other_threads_run(n):
    """Only for small matrices is LAPACK called with the GIL held."""
    a = ng.rand(n, n) + n * ng.eye(n)
    wanted = often(lambda: ng.linalg.solve_triangular(a, a, upper=True), 6)
    found = native("solve_triangular", a, a, None, True, True, False)
    assert (found is not None) is (n == 4)
    assert found is None or found.tolist() == wanted.tolist()


def test_sorted_and_recurrent_calls_are_native():
    x, w, v, b = ng.rand(3, 5, requires_grad=True), ng.rand(5, 5), ng.rand(5, 5), ng.rand(5)
    often(lambda: (ng.topk(x, 2), ng.kthvalue(x, 2), ng.rnn_tanh_cell(x, x, w, v, b, b)))
    found = native("topk", x, None, 2, -1, True, True)
    assert found.values.tolist() == ng.topk(x, 2).values.tolist() and chain(found[0].grad_fn)[0] == "TopkBackward0"
    assert native("kthvalue", x, None, 2, -1, False).indices.tolist() == ng.kthvalue(x, 2).indices.tolist()
    state = native("rnn_tanh_cell", x, x, w, v, b, b)
    assert np.allclose(state.detach().numpy(), (x @ w.t() + x @ v.t() + 2 * b).tanh().detach().numpy())
    state.sum().backward()
    assert x.grad is not None
