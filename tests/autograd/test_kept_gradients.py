"""Gradients that stay in the memory of the gradient that was passed to backward, as in PyTorch."""

import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.compiler import CaptureError

VIEWS = {
    "view": lambda T, x: x.view(-1), "reshape": lambda T, x: x.reshape(-1), "flatten": lambda T, x: x.flatten(),
    "unsqueeze": lambda T, x: x.unsqueeze(0), "squeeze": lambda T, x: x[None].squeeze(0), "t": lambda T, x: x.t(),
    "permute": lambda T, x: x.permute(1, 0), "movedim": lambda T, x: x.movedim(0, 1),
    "twice": lambda T, x: x.view(-1).view(3, 2),
    "first of cat": lambda T, x: T.cat([x, T.ones(2, 3)]), "last of cat": lambda T, x: T.cat([T.ones(2, 3), x]),
    "columns of cat": lambda T, x: T.cat([x, T.ones(2, 1)], 1), "stack": lambda T, x: T.stack([x, T.ones(2, 3)]),
    "itself": lambda T, x: x, "clone": lambda T, x: x.clone(), "neg": lambda T, x: -x, "add": lambda T, x: x + x,
    "slice": lambda T, x: x[:1], "both of cat": lambda T, x: T.cat([x, x]), "transposed copy": lambda T, x: x.t().contiguous(),
    "sum": lambda T, x: x.sum(),
}


def after_backward(T, view, create_graph=False, gradient=lambda T, y: T.full_like(y, 2.0), keep=False):
    """Where the gradient lies in that of the caller, and what a change of either does to the other."""
    x = T.arange(6.0).view(2, 3).clone().requires_grad_()
    y = view(T, x)
    g = gradient(T, y)
    if keep:
        x.grad = T.ones(2, 3)
    y.backward(g, create_graph=create_graph)
    place = (x.grad.data_ptr() - g.data_ptr()) // 4
    found = [x.grad.stride(), x.grad.tolist(), x.grad._is_view(), place if 0 <= place < g.numel() else None]
    with T.no_grad():
        g.add_(1)
        x.grad.mul_(2)
    return *found, x.grad.tolist(), g.tolist()


@pytest.mark.parametrize("name", VIEWS)
def test_memory_is_shared_where_pytorch_shares_it(name):
    agrees(lambda T: after_backward(T, VIEWS[name]))
    agrees(lambda T: after_backward(T, VIEWS[name], keep=True))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_recorded_backward_shares_nothing(name):
    agrees(lambda T: after_backward(T, VIEWS[name], True))


@pytest.mark.parametrize("gradient", [lambda T, y: T.ones(()).expand(y.shape), lambda T, y: T.ones(*y.shape, 2)[..., 0]])
def test_a_gradient_with_gaps_is_copied(gradient):
    agrees(lambda T: after_backward(T, VIEWS["view"], gradient=gradient) if gradient(T, T.ones(6)).stride(0) else
           after_expanded(T, gradient))


def after_expanded(T, gradient):
    x = T.ones(2, 3, requires_grad=True)
    y = x.view(-1)
    y.backward(gradient(T, y))
    return x.grad.stride(), x.grad.tolist()


def test_a_leaf_of_another_order_and_one_with_gaps():
    def run(T, x):
        y = x.reshape(-1) if x.stride(-1) == 1 else x.t()
        g = T.arange(6.0).view(y.shape).clone()
        y.backward(g)
        with T.no_grad():
            before = x.grad.tolist()
        return before
    agrees(lambda T: run(T, T.ones(3, 2).t().requires_grad_()))
    agrees(lambda T: run(T, T.ones(2, 5)[:, 1:4].detach().requires_grad_()))


# --- where PyTorch adds gradients up wrongly --------------------------------------------------------------------------

def test_no_two_leaves_get_the_same_memory():
    a, b, g = ng.ones(2, 3, requires_grad=True), ng.ones(2, 3, requires_grad=True), ng.full((6,), 2.0)
    for k in (1, 2, 3):
        (a.view(-1) + b.view(-1)).backward(g)
        assert a.grad.tolist() == b.grad.tolist() == [[2.0 * k] * 3] * 2 and a.grad.data_ptr() != b.grad.data_ptr()
    loss = ((a.view(-1) + b.view(-1)) * 3).sum()
    a.grad = b.grad = None
    loss.backward()
    a.grad.mul_(2)
    assert b.grad.tolist() == [[3.0] * 3] * 2


def test_a_gradient_passed_again_counts_as_it_is():
    x, g = ng.ones(4, requires_grad=True), ng.full((2, 2), 2.0)
    for k in (1, 2, 3):
        x.view(2, 2).backward(g)
        assert x.grad.tolist() == [2.0 * k] * 4 and g.tolist() == [[2.0, 2.0]] * 2


def test_a_leaf_that_is_used_again_leaves_what_others_read():
    a, b, g = ng.ones(4, requires_grad=True), ng.ones(4, requires_grad=True), ng.full((2, 2), 2.0)
    early = a * 5
    (b.view(2, 2) + early.view(2, 2) + a.view(2, 2)).backward(g)
    assert a.grad.tolist() == [12.0] * 4 and b.grad.tolist() == [2.0] * 4 and g.tolist() == [[2.0, 2.0]] * 2


def test_no_leaf_gets_memory_that_another_backward_gave():
    a, b, g = ng.ones(4, requires_grad=True), ng.ones(4, requires_grad=True), ng.full((2, 2), 2.0)
    a.view(2, 2).backward(g)
    b.view(2, 2).backward(g)
    a.grad.zero_()
    assert b.grad.tolist() == [2.0] * 4


def test_many_leaves_of_one_stack():
    leaves = [ng.ones(3, requires_grad=True) for _ in range(100)]
    g = ng.arange(300.0).view(100, 3).clone()
    ng.stack(leaves).backward(g)
    assert [t.grad.tolist() for t in leaves] == g.tolist()


# --- compiled steps ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["view", "stack", "t"])
def test_a_compiled_step_is_refused(name):
    def step(x, g):
        VIEWS[name](ng, x).backward(g)
    x = ng.ones(2, 3, requires_grad=True)
    with pytest.raises(CaptureError, match="lies in the memory of the gradient that is passed to backward"):
        ng.compile(step)(x, ng.ones_like(VIEWS[name](ng, x).detach()))


@pytest.mark.parametrize("name", ["clone", "neg", "sum"])
def test_a_compiled_step_copies_what_eager_code_copies(name):
    def step(x, g):
        x.grad = None
        VIEWS[name](ng, x).backward(g)
        g.mul_(3)
    x = ng.ones(2, 3, requires_grad=True)
    compiled, found = ng.compile(step), []
    for run in (step, compiled, compiled):
        g = ng.ones_like(VIEWS[name](ng, x).detach()) * 2
        run(x, g)
        g.add_(1)
        found.append((x.grad.tolist(), g.tolist()))
    assert found[0] == found[1] == found[2]
