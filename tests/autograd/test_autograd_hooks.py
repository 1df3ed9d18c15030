"""Hooks on tensors and nodes: order, replacements, errors, removal; retained gradients."""

import pytest
from parity import agrees

import numbagrad as ng


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


# --- hooks ------------------------------------------------------------------------------------------------------------

def test_order_of_hooks():
    def code(T):
        x, log = leaf(T, 1., 2.), []
        y = x * T.ones(2)
        node = y.grad_fn
        y.register_hook(lambda g: log.append("tensor 1"))
        node.register_prehook(lambda o: log.append(("pre", o)))
        node.register_hook(lambda i, o: log.append(("post", i, o)))
        y.register_hook(lambda g: log.append("tensor 2"))
        x.register_hook(lambda g: log.append("leaf"))
        x.register_post_accumulate_grad_hook(lambda p: log.append(("accumulated", p.grad)))
        end = node.next_functions[0][0]
        end.register_hook(lambda i, o: log.append(("end", i, o)))
        end.register_prehook(lambda o: log.append(("before end", o)))
        (y * 2).sum().backward()
        return log
    agrees(code)


def test_leaf_hook_sees_the_sum_once():
    def code(T):
        x, log = leaf(T, 1., 2.), []
        x.register_hook(lambda g: log.append(g) or g * 10)
        x.register_post_accumulate_grad_hook(lambda p: log.append(p.grad.clone()))
        (x * 2 + x.exp() * 0 + x * 3).sum().backward()
        return log, x.grad
    agrees(code, "([tensor([5., 5.]), tensor([50., 50.])], tensor([50., 50.]))")


def test_post_accumulate_hook_runs_as_soon_as_the_leaf_is_done():
    def code(T):
        log, x, w = [], leaf(T, 1.), leaf(T, 2.)
        h = (x * 2).exp()
        h.register_hook(lambda g: log.append("h"))
        w.register_post_accumulate_grad_hook(lambda p: log.append("w"))
        x.register_post_accumulate_grad_hook(lambda p: log.append("x"))
        ((h * w) * w).sum().backward()
        return log
    agrees(code, "w\nh\nx")


def test_hooks_may_replace_gradients():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 2
        y.register_hook(lambda g: g * 3)
        y.register_hook(lambda g: g + 1)
        z = y * 1
        z.grad_fn.register_prehook(lambda o: (o[0] * 10,))
        y.grad_fn.register_hook(lambda i, o: (i[0] * 100, None))
        z.sum().backward()
        return x.grad
    agrees(code, "tensor([6200., 6200.])")


def test_captured_and_retained_gradients_with_hooks():
    def code(T):
        out = []
        for inputs in ("y", "xy"):
            x, log = leaf(T, 1., 2.), []
            y = x * 2
            y.register_hook(lambda g, log=log: log.append("hook") or g * 10)
            y.retain_grad()
            out.append((T.autograd.grad(y.sum(), [{"x": x, "y": y}[c] for c in inputs]), y.grad, log))
        return out
    agrees(code)


@pytest.mark.parametrize("value", [lambda T: T.zeros(3), lambda T: 3, lambda T: T.zeros(2, dtype=T.double)])
def test_unfit_replacements(value):
    def code(T):
        y = leaf(T, 1., 2.) * 2

        def my_hook(g):
            return value(T)
        y.register_hook(my_hook)
        y.sum().backward()
    assert "my_hook" in agrees(code) or "returned 'int'" in agrees(code)


def test_wrong_number_from_a_post_hook():
    def code(T):
        y = leaf(T, 1., 2.) * 2
        y.grad_fn.register_hook(lambda i, o: (i[0],))
        y.sum().backward()
    assert "incorrect number of values (got 1, but expected 2)" in agrees(code)


def test_removing_hooks():
    def code(T):
        x, log = leaf(T, 1.), []
        handles = [x.register_hook(lambda g: log.append("x")), (y := x * 1).register_hook(lambda g: log.append("y"))]
        y.sum().backward(retain_graph=True)
        with handles[0]:
            pass
        handles[1].remove()
        handles[1].remove()
        y.sum().backward()
        return log
    agrees(code, "y\nx")


def test_hook_code_is_not_recorded():
    x, seen = leaf(ng, 1., 2.), []
    y = x * 2
    y.register_hook(lambda g: seen.append((ng.is_grad_enabled(), (g * x).requires_grad)))
    y.sum().backward(retain_graph=True)
    ng.autograd.grad(y.sum(), x, create_graph=True)
    assert seen == [(False, False), (True, True)] and ng.is_grad_enabled()


def test_an_exception_in_a_hook_restores_the_mode():
    x = leaf(ng, 1., 2.)

    def fail(g):
        raise ValueError("no")
    x.register_hook(fail)
    with pytest.raises(ValueError, match="no"):
        (x * 2).sum().backward()
    assert ng.is_grad_enabled() and not ng.base.modes.STATE


def test_multi_grad_hook():
    def code(T):
        x, y, log = leaf(T, 1., 2.), leaf(T, 3., 4.), []
        T.autograd.graph.register_multi_grad_hook((x, y), lambda grads: log.append(list(grads)))
        T.autograd.graph.register_multi_grad_hook((x, y), lambda g: log.append(g), mode="any")
        (x * y).sum().backward()
        return log
    agrees(code)


def test_retain_grad_follows_in_place_changes():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 2
        y.retain_grad()
        y.mul_(3)
        (y * y).sum().backward()
        return y.grad, y.retains_grad
    agrees(code, "(tensor([12., 24.]), True)")


# --- the order in which hooks of one layer's parameters run -----------------------------------------------------------

LAYERS = {
    "linear": (lambda T: T.nn.Linear(3, 4), (5, 3)), "linear of a vector": (lambda T: T.nn.Linear(3, 4), (3,)),
    "linear of batches": (lambda T: T.nn.Linear(3, 4), (2, 5, 3)),
    "linear alone": (lambda T: T.nn.Linear(3, 4, bias=False), (5, 3)),
    "bilinear": (lambda T: T.nn.Bilinear(3, 4, 2), (2, 5, 3), (2, 5, 4)),
    "conv": (lambda T: T.nn.Conv2d(3, 4, 3), (2, 3, 6, 6)),
    "transposed": (lambda T: T.nn.ConvTranspose1d(3, 4, 3), (2, 3, 6)),
    "layer norm": (lambda T: T.nn.LayerNorm(4), (5, 4)), "rms norm": (lambda T: T.nn.RMSNorm(4), (5, 4)),
    "group norm": (lambda T: T.nn.GroupNorm(2, 4), (5, 4, 3)), "batch norm": (lambda T: T.nn.BatchNorm1d(4), (5, 4)),
    "instance norm": (lambda T: T.nn.InstanceNorm1d(4, affine=True), (5, 4, 3)), "prelu": (lambda T: T.nn.PReLU(), (5, 4)),
    "gru": (lambda T: T.nn.GRU(3, 4, 2), (5, 2, 3)), "attention": (lambda T: T.nn.MultiheadAttention(4, 2), *[(5, 2, 4)] * 3),
    "encoder": (lambda T: T.nn.TransformerEncoderLayer(4, 2, 8, 0.), (5, 2, 4)),
    "several": (lambda T: T.nn.Sequential(T.nn.Linear(3, 4), T.nn.ReLU(), T.nn.Linear(4, 2)), (5, 3)),
    "weight norm": (lambda T: T.nn.utils.parametrizations.weight_norm(T.nn.Linear(3, 4)), (5, 3)),
}


def hook_all(module, inputs, kind):
    """A list that gets the names of parameters and inputs as their hooks run."""
    log = []
    for name, p in [*module.named_parameters(), *[(f"input {i}", x) for i, x in enumerate(inputs) if x.requires_grad]]:
        getattr(p, kind)(lambda _, name=name: log.append(name))
    return log


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_order_of_hooks_of_a_layer(layer, requires_grad, kind):
    make, *shapes = LAYERS[layer]

    def code(T):
        module, inputs = make(T), [T.ones(s, requires_grad=requires_grad) for s in shapes]
        log = hook_all(module, inputs, kind)
        out = module(*inputs)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        assert len(log) == len(set(log)) >= len(list(module.parameters()))
        return log
    agrees(code)


@pytest.mark.parametrize("code", [
    lambda T, *p: T.addmm(p[0], p[1], p[2]), lambda T, *p: p[0] @ p[1], lambda T, *p: p[0][None] @ p[1],
    lambda T, *p: T.outer(p[3], p[4]), lambda T, *p: T.kron(p[0], p[1]),
    lambda T, *p: T.nn.functional.linear(p[0], p[1], p[3])])
def test_order_of_hooks_of_a_function(code):
    def run(T):
        leaves = [T.ones(3, 3, requires_grad=True) for _ in range(3)] + [T.ones(3, requires_grad=True) for _ in range(2)]
        log = []
        for i, p in enumerate(leaves):
            p.register_hook(lambda _, i=i: log.append(i))
        code(T, *leaves).sum().backward()
        assert len(log) > 1
        return log
    agrees(run)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_order_of_hooks_of_many_leaves(n):
    def code(T):
        leaves, log = [leaf(T, 1.) for _ in range(n)], []
        for i, p in enumerate(leaves):
            p.register_hook(lambda _, i=i: log.append(i))
        (T.cat(leaves).sum() + T.cat(leaves[::-1]).sum()).backward()
        T.stack(leaves).sum().backward()
        return log, [p.grad for p in leaves]
    agrees(code)


def test_inputs_alone_with_hooks_in_order():
    def code(T):
        module, log = T.nn.Linear(2, 3), []
        x = T.ones(4, 2, requires_grad=True)
        log = hook_all(module, [x], "register_hook")
        T.autograd.grad(module(x).sum(), [module.weight, module.bias])
        with T.no_grad():
            module.weight.zero_()
        module(x).sum().backward(inputs=[x, module.bias])
        return log, x.grad, module.bias.grad, module.weight.grad
    agrees(code)
