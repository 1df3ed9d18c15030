"""Backward and grad: leaves, hooks, accumulation, the order of things, errors."""

import contextlib
import copy
import gc
import pickle

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.autograd import graph
from numbagrad.base import user_code


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


# --- accumulation -----------------------------------------------------------------------------------------------------

def test_accumulation_keeps_the_gradient_object():
    x = leaf(ng, 1., 2.)
    (x * x).sum().backward()
    g = x.grad
    version = g._version
    (x * x).sum().backward()
    assert x.grad is g and g.tolist() == [4., 8.] and g._version > version


def test_gradient_is_never_an_alias():
    x, y, v = leaf(ng, 1., 2.), leaf(ng, 3., 4.), ng.tensor([1., 1.])
    (x + y).backward(v)
    places = {x.grad.data_ptr(), y.grad.data_ptr(), v.data_ptr()}
    assert len(places) == 3
    x.grad.zero_()
    assert y.grad.tolist() == [1., 1.] and v.tolist() == [1., 1.]
    z = leaf(ng, 1., 2.)
    z.backward(v)
    assert z.grad.data_ptr() != v.data_ptr() and z.grad.tolist() == [1., 1.]


def test_gradient_of_a_function_result_is_not_shared():
    kept = []

    class Keeps(ng.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            r = g * 2
            kept.append(r.detach())
            return r
    x = leaf(ng, 1., 2.)
    Keeps.apply(x).backward(ng.ones(2))
    kept[0].zero_()
    assert x.grad.tolist() == [2., 2.]


def test_expanded_gradient_becomes_dense():
    x = ng.ones(3, requires_grad=True)
    x.sum().backward()
    assert x.grad.is_contiguous() and x.grad.stride() == (1,)
    x.grad[0] = 5
    assert x.grad.tolist() == [5., 1., 1.]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_gradient_has_the_dtype_of_its_leaf(dtype):
    def code(T):
        d = getattr(T, dtype)
        x = T.ones(3, dtype=d, requires_grad=True)
        y = x * T.ones(3, dtype=T.complex128 if d.is_complex else T.float64)
        (y.real if d.is_complex else y).sum().backward()
        return x.grad.dtype, x.grad
    agrees(code)


def test_shared_subexpressions():
    def code(T):
        x = leaf(T, 2., 3.)
        y = x * x
        for _ in range(20):
            y = y + y * 0.5
        return T.autograd.grad(y.sum(), x)
    agrees(code)


def test_leaf_as_root():
    def code(T):
        x = T.tensor(2., requires_grad=True)
        x.backward()
        x.backward()
        return x.grad, T.autograd.grad(x, x), T.autograd.grad(x * 1, [x, x])
    agrees(code, "(tensor(2.), (tensor(1.),), (tensor(1.), tensor(1.)))")


def test_several_roots():
    def code(T):
        x = leaf(T, 1., 2.)
        T.autograd.backward([x.sum(), (x * x), x[0]], [None, T.tensor([1., 10.]), None])
        return x.grad
    agrees(code, "tensor([ 4., 41.])")


def test_outputs_of_one_node():
    def code(T):
        x = T.arange(6.).view(2, 3).requires_grad_()
        a, b = x.unbind(0)
        s = T.autograd.grad((a * b).sum(), [a, b], retain_graph=True)
        (a * 2).sum().backward()
        return s, x.grad
    agrees(code, "((tensor([3., 4., 5.]), tensor([0., 1., 2.])), tensor([[2., 2., 2.],\n        [0., 0., 0.]]))")


# --- inputs= and grad() -----------------------------------------------------------------------------------------------

def test_backward_to_given_inputs():
    def code(T):
        x, y = leaf(T, 1., 2.), leaf(T, 3., 4.)
        h = x * y
        (h * h).sum().backward(inputs=[x, h])
        return x.grad, y.grad, h.grad, h.retains_grad
    agrees(code, "(tensor([18., 64.]), None, tensor([ 6., 16.]), True)")


def test_grad_leaves_attributes_alone():
    def code(T):
        x, y = leaf(T, 1., 2.), leaf(T, 3., 4.)
        h = x * y
        out = T.autograd.grad((h * h).sum(), [h, x])
        return out, x.grad, y.grad
    agrees(code, "((tensor([ 6., 16.]), tensor([18., 64.])), None, None)")


def test_unused_inputs():
    def code(T):
        x, y = leaf(T, 1., 2.), leaf(T, 3., 4.)
        return (T.autograd.grad(x.sum(), [x, y], allow_unused=True),
                T.autograd.grad(x.sum(), [x, y], materialize_grads=True))
    agrees(code, "((tensor([1., 1.]), None), (tensor([1., 1.]), tensor([0., 0.])))")


def test_only_paths_to_the_inputs_are_walked():
    ran = []

    class Note(ng.autograd.Function):
        @staticmethod
        def forward(ctx, x, name):
            ctx.name = name
            return x * 1

        @staticmethod
        def backward(ctx, g):
            ran.append(ctx.name)
            return g, None
    x, y = leaf(ng, 1.), leaf(ng, 2.)
    a, b = Note.apply(x, "a"), Note.apply(y, "b")
    ng.autograd.grad((a * b).sum(), x)
    assert ran == ["a"]


ERRORS = [
    lambda T: (leaf(T, 1., 2.) * 2).backward(),
    lambda T: T.ones(()).backward(),
    lambda T: (leaf(T, 1., 2.) * 2).backward(T.ones(3)),
    lambda T: (leaf(T, 1., 2.) * 2).backward([1., 2.]),
    lambda T: (leaf(T, 1., 2.) * 2).sum().backward(inputs=[]),
    lambda T: (leaf(T, 1., 2.) * 2).sum().backward(inputs=[T.ones(2)]),
    lambda T: (leaf(T, 1.) * (1 + 2j)).sum().backward(),
    lambda T: T.autograd.grad(leaf(T, 1.).sum(), leaf(T, 2.)),
    lambda T: T.autograd.grad(leaf(T, 1.).sum(), T.ones(1)),
    lambda T: T.autograd.grad(leaf(T, 1.).sum(), leaf(T, 2.), allow_unused=False, materialize_grads=True),
    lambda T: T.autograd.grad(leaf(T, 1.).sum(), []),
    lambda T: T.autograd.grad("a", [leaf(T, 1.)]),
    lambda T: T.ones(2).retain_grad(),
    lambda T: T.ones(2).register_hook(print),
    lambda T: (leaf(T, 1.) * 2).register_post_accumulate_grad_hook(print),
    lambda T: T.ones(2).register_post_accumulate_grad_hook(print),
    lambda T: (leaf(T, 1.) * 2).requires_grad_(False),
    lambda T: setattr(leaf(T, 1., 2.), "grad", T.ones(3)),
    lambda T: setattr(leaf(T, 1., 2.), "grad", T.ones(2, dtype=T.double)),
    lambda T: setattr(leaf(T, 1., 2.), "grad", 3),
    lambda T: setattr(leaf(T, 1., 2.), "data", T.ones(2, dtype=T.int32)),
    lambda T: (leaf(T, 1., 2.) * 2)[0].detach_(),
    lambda T: leaf(T, 1.).numpy(),
    lambda T: copy.deepcopy(leaf(T, 1.) * 2),
]


@pytest.mark.parametrize("code", ERRORS)
def test_error_texts(code):
    assert "Error: " in agrees(code)


def test_freed_graph():
    def code(T):
        x = leaf(T, 1.)
        y = x.exp()
        y.backward()
        y.backward()
    assert agrees(code).startswith("RuntimeError: Trying to backward through the graph a second time")


def test_nothing_saved_nothing_freed():
    def code(T):
        x = leaf(T, 1., 2.)
        y = (x + 1).sum()
        y.backward()
        y.backward()
        return x.grad
    agrees(code, "tensor([2., 2.])")


def test_many_rows_of_gradients():
    def code(T):
        x = leaf(T, 1., 2.)
        return T.autograd.grad(x * 2, x, T.eye(2), is_grads_batched=True)
    agrees(code, "(tensor([[2., 0.],\n        [0., 2.]]),)")


# --- higher order -----------------------------------------------------------------------------------------------------

def test_third_order():
    def code(T):
        x = T.tensor([0.5, 2.], dtype=T.double, requires_grad=True)
        y = (x.sin() * x**3).sum()
        out = []
        for _ in range(3):
            g, = T.autograd.grad(y, x, create_graph=True)
            out.append(g.detach())
            y = (g * g).sum()
        return out
    agrees(code)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph_gives_recorded_gradients():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x**2
        y.retain_grad()
        (y * y).sum().backward(create_graph=True)
        first = x.grad, y.grad
        x.grad = None
        first[0].sum().backward()
        return first, x.grad
    text = agrees(code)
    assert "CopyBackwards" in text and "CloneBackward0" in text


def test_create_graph_warns_once(monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    x = leaf(ng, 1.)
    with pytest.warns(UserWarning, match="Using backward\\(\\) with create_graph=True will create a reference cycle"):
        (x * x).backward(create_graph=True)
    (x * x).backward(create_graph=True)
    x.grad = None


def test_gradient_of_grad_outputs():
    def code(T):
        x, v = leaf(T, 1., 2.), leaf(T, 3., 4.)
        g, = T.autograd.grad(x * x, x, v, create_graph=True)
        return T.autograd.grad(g.sum(), [v, x])
    agrees(code, "(tensor([2., 4.]), tensor([6., 8.]))")


def test_gradients_are_not_recorded_without_create_graph():
    x = leaf(ng, 1., 2.)
    g, = ng.autograd.grad((x * x).sum(), x)
    assert not g.requires_grad and g.grad_fn is None
    (x * x).sum().backward()
    assert not x.grad.requires_grad


# --- nodes ------------------------------------------------------------------------------------------------------------

def test_node_interface():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * x
        node = y.grad_fn
        node.metadata["key"] = 1
        end = node.next_functions[0][0]
        return (node.name(), end.name(), end.next_functions, end.variable is x, y.grad_fn is node, node.metadata,
                y.output_nr, x.unbind(0)[1].output_nr, node._saved_self, x.exp().grad_fn._saved_result,
                x.pow(2).grad_fn._saved_exponent, node(T.ones(2)))
    agrees(code)


def test_saved_tensors_are_freed():
    def code(T):
        y = leaf(T, 1., 2.).exp()
        y.sum().backward()
        return y.grad_fn._saved_result
    assert "directly access saved tensors after they have already been freed" in agrees(code)


def test_gradient_edges():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 2
        edge = T.autograd.graph.get_gradient_edge(y)
        a, b = x.unbind(0)
        second = T.autograd.graph.get_gradient_edge(b)
        return (type(edge.node).__name__, edge.output_nr, second.output_nr, T.autograd.grad(y.sum(), edge),
                T.autograd.grad((a * b), second), T.autograd.graph.get_gradient_edge(x).node)
    agrees(code)


def test_increment_version():
    x = ng.ones(2)
    graph.increment_version(x)
    graph.increment_version([x, x])
    assert x._version == 3


# --- tensors as objects -----------------------------------------------------------------------------------------------

def test_detach_and_data():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 2
        d, e = y.detach(), y.data
        d.add_(1)
        e.add_(1)
        return y, d.requires_grad, y._version, d._version, e._version, d.data_ptr() == y.data_ptr(), d.is_leaf
    agrees(code, "(tensor([4., 6.], grad_fn=<MulBackward0>), False, 1, 1, 1, True, True)")


def test_detach_in_place():
    def code(T):
        y = leaf(T, 1., 2.) * 2
        y.detach_()
        return y, y.is_leaf
    agrees(code, "(tensor([2., 4.]), True)")


def test_copies_and_pickles():
    x = leaf(ng, 1., 2.)
    (x * 2).sum().backward()
    for other in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))):
        assert other is not x and other.requires_grad and other.is_leaf and other.tolist() == [1., 2.]
    assert copy.deepcopy(x).grad.tolist() == [2., 2.] and copy.deepcopy(x).grad is not x.grad
    assert copy.deepcopy(x).data_ptr() != x.data_ptr()
    twice = copy.deepcopy([x, x])
    assert twice[0] is twice[1]
    p = ng.nn.Parameter(ng.ones(2), requires_grad=False)
    p.note = "kept"
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert isinstance(other, ng.nn.Parameter) and not other.requires_grad
    assert pickle.loads(pickle.dumps(p)).note == "kept"
    for dtype in (ng.bool, ng.uint8, ng.int64, ng.float16, ng.bfloat16, ng.complex64):
        t = ng.ones(3, dtype=dtype)
        for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
            assert other.dtype == dtype and bool((other == t).all())


def test_variable():
    def code(T):
        V = T.autograd.Variable
        return (V(T.ones(2)), V(T.ones(2), requires_grad=True), isinstance(T.ones(2), V),
                type(V(T.ones(2))) is T.Tensor, V(leaf(T, 1.) * 2))
    agrees(code, "(tensor([1., 1.]), tensor([1., 1.], requires_grad=True), True, True, tensor([2.]))")


def test_forward_mode_is_imported_when_it_is_used():
    import numbagrad.autograd.forward_ad as forward_ad
    assert forward_ad is ng.autograd.forward_ad
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(forward_ad.make_dual(ng.ones(1), ng.ones(1)) * 3).tangent.item() == 3


# --- random graphs ----------------------------------------------------------------------------------------------------

OPERATIONS = (lambda a, b: a * b, lambda a, b: a + b * 0.5, lambda a, b: a.sin(), lambda a, b: (a * 0.3).exp(),
              lambda a, b: a / (b * b + 1), lambda a, b: a.tanh() - b, lambda a, b: a.sum(),
              lambda a, b: a[..., :2].sum() if a.dim() else a * a)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_against_differences(seed):
    rng = np.random.default_rng(seed)
    start = [rng.uniform(0.5, 1.5, s) for s in ((2, 3), (3,), ())]

    def run(T_values):
        rng = np.random.default_rng(seed + 100)
        pool = list(T_values)
        for _ in range(10):
            a, b = (pool[i] for i in rng.integers(len(pool), size=2))
            pool.append(OPERATIONS[rng.integers(len(OPERATIONS))](a, b))
        return sum((p * p).sum() for p in pool[3:])
    leaves = [ng.tensor(v, requires_grad=True) for v in start]
    grads = ng.autograd.grad(run(leaves), leaves, materialize_grads=True)
    h = 1e-6
    for i, (v, g) in enumerate(zip(start, grads)):
        for k in np.ndindex(v.shape):
            ends = []
            for sign in (h, -h):
                moved = [np.array(x) for x in start]
                moved[i][k] += sign
                ends.append(run([ng.tensor(x) for x in moved]).item())
            expected = (ends[0] - ends[1]) / (2 * h)
            assert abs(g.numpy()[k] - expected) <= 1e-6 * max(1, abs(expected))  # the differences' own error
    gc.collect()


@pytest.mark.parametrize("pick", [lambda x: x.max(1)[0], lambda x: x.sort(1)[0], lambda x: x.cummax(1)[0],
                                  lambda x: x.quantile(0.3, 1)], ids=["max", "sort", "cummax", "quantile"])
@pytest.mark.parametrize("hooks", [False, True])
def test_gradients_of_what_is_picked_depend_on_no_values(pick, hooks):
    """Saved indices have no history: as in PyTorch, the gradient of a sum of chosen elements requires none."""
    x = ng.tensor([[1.0, 2.0], [3.0, 0.0]]).requires_grad_()
    hooked = ng.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t) if hooks else contextlib.nullcontext()
    with hooked:
        chosen = pick(x).sum()
    assert not ng.autograd.grad(chosen, x, create_graph=True)[0].requires_grad
