"""Checkpointing and saved-tensor hooks: the same gradients from less memory."""

import gc
import weakref

import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.autograd import graph
from numbagrad.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential, set_checkpoint_early_stop


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


def cp(T):
    if T is ng:
        from numbagrad.utils import checkpoint as module
    else:
        from torch.utils import checkpoint as module
    return module


# --- saved-tensor hooks -----------------------------------------------------------------------------------------------

def test_hooks_see_what_is_saved():
    def code(T):
        log = []

        def pack(t):
            log.append(("pack", t.detach(), T.is_grad_enabled()))
            return t * 2

        def unpack(t):
            log.append(("unpack", t))
            return t / 2
        x = leaf(T, 1., 2.)
        with T.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = x * T.tensor([3., 4.])
            z = y.exp()
        w = z * z
        w.sum().backward()
        return [*log, x.grad]
    agrees(code)


def test_values_come_from_unpack():
    def code(T):
        x = leaf(T, 1., 2.)
        with T.autograd.graph.saved_tensors_hooks(lambda t: 0, lambda _: T.full((2,), 7.)):
            y = x * x
        y.sum().backward()
        return x.grad
    agrees(code, "tensor([14., 14.])")


def test_nesting_uses_the_innermost():
    def code(T):
        log = []
        hooks = T.autograd.graph.saved_tensors_hooks
        x = leaf(T, 1.)
        with hooks(lambda t: log.append("outer") or t, lambda t: t):
            a = x.exp()
            with hooks(lambda t: log.append("inner") or t, lambda t: t):
                b = a.sin()
            b.cos()
        x.exp()
        return log
    agrees(code, "outer\ninner\nouter")


def test_double_backward_through_hooks():
    def code(T):
        out = []
        for pack, unpack in ((lambda t: t, lambda t: t), (lambda t: t.clone(), lambda t: t)):
            x = T.tensor([0.5, 2.], dtype=T.double, requires_grad=True)
            with T.autograd.graph.saved_tensors_hooks(pack, unpack):
                y = (x * x).exp() * x.sin()
                g, = T.autograd.grad(y.sum(), x, create_graph=True)
                out.append(T.autograd.grad((g * g).sum(), x))
        return out
    agrees(code)


def test_hook_errors():
    def bad_unpack(T):
        with T.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
            y = leaf(T, 1.).exp()
        y.backward()
    assert "unpack_hook expected to be a Tensor but got result of type" in str(agrees_prefix(bad_unpack))

    def modifies(T):
        x = leaf(T, 1.) * 1
        with T.autograd.graph.saved_tensors_hooks(lambda t: t.add_(1), lambda t: t):
            x.exp()
            x * x
    assert "pack hook is modifying its input in place" in agrees_prefix(modifies)


def agrees_prefix(code):
    from parity import said
    return said(ng, code)


def test_disabling_hooks():
    def code(T):
        with T.autograd.graph.disable_saved_tensors_hooks("not here"):
            with T.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                pass
    agrees(code, "RuntimeError: not here")

    def inside(T):
        with T.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            with T.autograd.graph.disable_saved_tensors_hooks("not here"):
                pass
    agrees(inside, "RuntimeError: not here")
    assert not ng.base.modes.STATE


def test_save_on_cpu():
    x = leaf(ng, 1., 2.)
    with graph.save_on_cpu(pin_memory=True):
        y = (x * x).exp()
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([2 * 2.718281828, 4 * 54.59815], rel=1e-6)


def test_mutation_of_saved_tensors():
    def code(T):
        x = leaf(T, 1., 2.)
        with T.autograd.graph.allow_mutation_on_saved_tensors():
            y = x * 1
            z = y * y
            y.mul_(10)
            (z.sum() + y.sum()).backward()
        return x.grad
    agrees(code, "tensor([12., 14.])")


# --- checkpoint -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients(reentrant):
    def code(T):
        T.manual_seed(0)
        net = T.nn.Sequential(T.nn.Linear(3, 4), T.nn.Tanh(), T.nn.Linear(4, 2))
        x = T.randn(5, 3, requires_grad=True)
        runs = []

        def f(x):
            runs.append(T.is_grad_enabled())
            return net(x)
        out = cp(T).checkpoint(f, x, use_reentrant=reentrant)
        (out * out).sum().backward()
        return [runs, x.grad, *[p.grad for p in net.parameters()]]
    ours = agrees(code)
    assert ours.startswith("[False, True]" if reentrant else "[True, True]")


def test_random_state_is_replayed():
    def code(T):
        T.manual_seed(3)
        x = T.ones(20, requires_grad=True)

        def f(x):
            return x * T.rand(20) * 2
        y = cp(T).checkpoint(f, x, use_reentrant=False)
        y.sum().backward()
        same = bool((x.grad == y).all())
        z = T.rand(2)
        return same, z
    agrees(code)


@pytest.mark.parametrize("reentrant", [True, False])
def test_without_preserving_the_random_state(reentrant):
    ng.manual_seed(3)
    x = ng.ones(20, requires_grad=True)
    y = checkpoint(lambda x: x * ng.rand(20), x, use_reentrant=reentrant, preserve_rng_state=False)
    y.sum().backward()
    assert not bool((x.grad == y).all())


def test_several_outputs_and_other_arguments():
    def code(T):
        x, w = leaf(T, 1., 2.), leaf(T, 3., 4.)

        def f(x, k, w=None):
            return x * w * k, "text", x.exp()
        a, s, b = cp(T).checkpoint(f, x, 2.0, use_reentrant=False, w=w)
        (a + b).sum().backward()
        return s, x.grad, w.grad
    agrees(code)


def test_nested():
    runs = []

    def inner(x):
        runs.append("inner")
        return (x * x).sin()

    def outer(x):
        runs.append("outer")
        return checkpoint(inner, x.exp(), use_reentrant=False) * x
    x, z = (ng.tensor([0.1, 0.2], dtype=ng.double, requires_grad=True) for _ in range(2))
    checkpoint(outer, x, use_reentrant=False).sum().backward()
    assert runs.count("outer") == 2
    runs.clear()
    outer(z).sum().backward()
    assert x.grad.tolist() == z.grad.tolist()


def test_double_backward():
    def code(T):
        x = T.tensor([0.3, 0.7], dtype=T.double, requires_grad=True)
        y = cp(T).checkpoint(lambda x: (x * x).exp().sin(), x, use_reentrant=False)
        g, = T.autograd.grad(y.sum(), x, create_graph=True)
        return T.autograd.grad((g * g).sum(), x)
    agrees(code)


def test_grad_with_checkpoint():
    x = leaf(ng, 1., 2.)
    g, = ng.autograd.grad(checkpoint(lambda x: x.exp() * x, x, use_reentrant=False).sum(), x)
    assert g.tolist() == pytest.approx([2 * 2.7182818, 3 * 7.389056], rel=1e-6)
    agrees(lambda T: T.autograd.grad(cp(T).checkpoint(lambda x: x * 2, (x := leaf(T, 1.)), use_reentrant=True), x))


def test_memory_is_given_back():
    gc.disable()
    try:
        refs = []

        def f(x):
            y = x.exp()
            refs.append(weakref.ref(y))
            return (y * y).sin()
        x = ng.ones(4, requires_grad=True)
        plain = f(x)
        assert refs[-1]() is not None
        out = checkpoint(f, x, use_reentrant=False)
        assert refs[-1]() is None  # nothing holds the intermediate result
        (out.sum() + plain.sum()).backward()
        del out, plain
        assert all(r() is None for r in refs)
    finally:
        gc.enable()


@pytest.mark.parametrize("early", [True, False])
def test_early_stop(early):
    done = []

    def f(x):
        y = x.exp()
        done.append(1)
        return y
    with set_checkpoint_early_stop(early):
        y = checkpoint(lambda x: f(x), leaf(ng, 1.), use_reentrant=False)
    y.backward()
    assert len(done) == (1 if early else 2)


def test_different_recomputation():
    calls = []

    def fewer(x):
        calls.append(1)
        return (x * 2).sin().cos() if len(calls) == 1 else x.sin()
    with pytest.raises(CheckpointError, match="(?s)A different number of tensors was saved during the original forward "
                                              "and "
                       "recomputation.\nNumber of tensors saved during forward: 2\nNumber of tensors saved during "
                       "recomputation: 1"):
        checkpoint(fewer, leaf(ng, 1.), use_reentrant=False).backward()
    calls.clear()

    def other_dtype(x):
        calls.append(1)
        return (x * 2).sin() if len(calls) == 1 else (x * 2).double().sin()
    with pytest.raises(CheckpointError, match="(?s)have different metadata than during the forward pass.\ntensor at "
                                              "position 0:\n"
                       "saved metadata: {'shape': torch.Size\\(\\[1\\]\\), 'dtype': torch.float32"):
        checkpoint(other_dtype, leaf(ng, 1.), use_reentrant=False).backward()


TEXTS = [
    lambda T: cp(T).checkpoint(lambda x: x * 2, leaf(T, 1.)),
    lambda T: cp(T).checkpoint(lambda x: x * 2, T.ones(2), use_reentrant=True),
    lambda T: cp(T).checkpoint(lambda x, k: x * 2, leaf(T, 1.), use_reentrant=True, k=3),
    lambda T: cp(T).checkpoint_sequential([lambda x: x * 2], 1, leaf(T, 1.)),
]


@pytest.mark.parametrize("code", TEXTS)
def test_texts(code):
    agrees(code)


@pytest.mark.parametrize("reentrant", [True, False])
def test_sequential(reentrant):
    def code(T):
        T.manual_seed(0)
        net = T.nn.Sequential(*[T.nn.Linear(3, 3) for _ in range(5)])
        x = T.randn(2, 3, requires_grad=True)
        out = cp(T).checkpoint_sequential(net, 2, x, use_reentrant=reentrant)
        out.sum().backward()
        return [out.detach(), x.grad, *[p.grad for p in net.parameters()]]
    agrees(code)
    assert checkpoint_sequential([lambda x: x + 1] * 3, 3, leaf(ng, 1.), use_reentrant=False).tolist() == [4.]


def test_without_recording():
    with ng.no_grad():
        out = checkpoint(lambda x: x * 2, leaf(ng, 1.), use_reentrant=False)
    assert not out.requires_grad


def test_modified_input_is_found():
    x = leaf(ng, 1.) * 1
    y = checkpoint(lambda x: x.exp(), x, use_reentrant=False)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
