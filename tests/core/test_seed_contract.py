"""Everything that the introductions to automatic differentiation show: each item, and what it prints."""

import pytest
from parity import agrees, said
from parity import torch as oracle
from seed_helpers import printed

import numbagrad as ng

# --- creation ---------------------------------------------------------------------------------------------------------

CREATION = [
    (lambda T: T.tensor(3.0, requires_grad=True), "tensor(3., requires_grad=True)"),
    (lambda T: T.tensor([1.]), "tensor([1.])"),
    (lambda T: [T.randn(2, 3).shape, T.randn((5, 5)).shape, T.randn(2, 3).dtype],
     "torch.Size([2, 3])\ntorch.Size([5, 5])\ntorch.float32"),
    (lambda T: [T.ones(1), T.ones((1,)), T.ones(T.zeros(2).size()), T.zeros(3)],
     "tensor([1.])\ntensor([1.])\ntensor([1., 1.])\ntensor([0., 0., 0.])"),
    (lambda T: [T.manual_seed(1) is not None, T.randn(2, 3), T.rand(2), T.normal(T.ones(2, 2), 1)],
     "True\ntensor([[ 0.6614,  0.2669,  0.0617],\n        [ 0.6213, -0.4519, -0.1661]])\ntensor([0.6826, 0.3051])\n"
     "tensor([[ 0.6594, -0.2720],\n        [-0.1948,  1.0250]])"),
    (lambda T: T.cat([T.zeros(2, 2), T.ones(1, 2)], 0), "tensor([[0., 0.],\n        [0., 0.],\n        [1., 1.]])"),
    (lambda T: [T.float is T.float32, T.device("cpu"), T.device("cuda:0"),
                T.zeros(1, device=T.device("cpu"), dtype=T.float)],
     "True\ncpu\ncuda:0\ntensor([0.])"),
    (lambda T: [isinstance(T.cuda.is_available(), bool), T.cuda.manual_seed(1)], "True\nNone"),
]


@pytest.mark.parametrize("code, expected", CREATION)
def test_creation(code, expected):
    agrees(code, expected)


# --- requires_grad and leaves -----------------------------------------------------------------------------------------

def test_requires_grad():
    def code(T):
        x, y, z = T.randn(5, 5), T.randn(5, 5), T.randn((5, 5), requires_grad=True)
        a = x + y
        print(a.requires_grad, (a + z).requires_grad)
        a.requires_grad_(True)
        print(a.requires_grad, x.requires_grad)
        x.requires_grad = True
        print(x.requires_grad)
    agrees(printed(code), "False True\nTrue False\nTrue")


@pytest.mark.parametrize("make, text", [
    (lambda T: T.tensor([1, 2], requires_grad=True), "Only Tensors of floating point and complex dtype can require "
                                                     "gradients"),
    (lambda T: T.ones(2, dtype=T.int64, requires_grad=True),
     "Only Tensors of floating point and complex dtype can require gradients"),
    (lambda T: T.tensor([1, 2]).requires_grad_(), "only Tensors of floating point dtype can require gradients"),
    (lambda T: setattr(T.tensor([True]), "requires_grad", True),
     "only Tensors of floating point and complex dtype can require gradients"),
])
def test_integers_have_no_gradients(make, text):
    agrees(make, "RuntimeError: " + text)


def test_leaves():
    def code(T):
        w, x = T.tensor([1.], requires_grad=True), T.tensor([2.], requires_grad=True)
        a, b, c = T.add(w, x), T.add(w, 1), T.zeros(2)
        y = T.mul(a, b)
        y.backward()
        print("is_leaf:\n", w.is_leaf, x.is_leaf, a.is_leaf, b.is_leaf, y.is_leaf, c.is_leaf)
        print("gradient:\n", w.grad, x.grad, a.grad, b.grad, y.grad)
    message = ("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't "
               "be populated during autograd.backward(). If you indeed want the .grad field to be populated for a "
               "non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by "
               "mistake, make sure you access the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for "
               "more information.")
    ours = said(ng, printed(code))
    assert ours == ("is_leaf:\n True True False False False True\ngradient:\n tensor([5.]) tensor([2.]) None None None"
                    + ("\nUserWarning: " + message) * 3)
    if oracle():
        assert said(oracle(), printed(code)) == ours


def test_gradient_example():
    def code(T):
        x, y = T.tensor(3.0, requires_grad=True), T.tensor(4.0, requires_grad=False)
        z = T.pow(x, 2) + T.pow(y, 2)
        z.retain_grad()
        print("x.requires_grad:", x.requires_grad)
        print("y.requires_grad:", y.requires_grad)
        print("z.requires_grad:", z.requires_grad)
        z.backward()
        print("x.grad:", x.grad)
        print("y.grad:", y.grad)
        print("z.grad:", z.grad)
        print(z)
    agrees(printed(code), "x.requires_grad: True\ny.requires_grad: False\nz.requires_grad: True\nx.grad: tensor(6.)\n"
                          "y.grad: None\nz.grad: tensor(1.)\ntensor(25., grad_fn=<AddBackward0>)")


# --- backward and grad ------------------------------------------------------------------------------------------------

def test_scalars_only():
    agrees(lambda T: T.ones(2, requires_grad=True).mul(2).backward(),
           "RuntimeError: grad can be implicitly created only for scalar outputs")


def test_vector_jacobian_product_and_analytic_derivative():
    def code(T):
        T.manual_seed(0)
        x = T.randn(2, 3, requires_grad=True)
        y = x**2 * T.exp(x)
        y.backward(gradient=T.ones(y.size()))
        exact = 2 * x * T.exp(x) + x**2 * T.exp(x)
        print(bool(((x.grad - exact).abs() < 1e-4).all()))
        print(x.grad)
    agrees(printed(code), "True\ntensor([[25.4785, -0.3734,  0.0441],\n        [ 2.5776, -0.3356, -0.2077]])")


def test_weighted_losses():
    def code(T):
        w, x = T.tensor([1.], requires_grad=True), T.tensor([2.], requires_grad=True)
        a, b = T.add(w, x), T.add(w, 1)
        y0, y1 = T.mul(a, b), T.add(a, b)
        loss = T.cat([y0, y1], dim=0)
        loss.backward(gradient=T.tensor([1., 1.]), retain_graph=True)
        print(w.grad)
        w.grad.zero_()
        loss.backward(gradient=T.tensor([1., 2.]))
        print(w.grad)
    agrees(printed(code), "tensor([7.])\ntensor([9.])")


def test_graph_is_freed():
    def code(T):
        w = T.tensor([1.], requires_grad=True)
        y = w * w
        y.backward()
        y.backward()
    text = agrees(code)
    assert text.startswith("RuntimeError: Trying to backward through the graph a second "
                           "time") and "retain_graph=True" in text


def test_retained_graph_accumulates():
    def code(T):
        w, x, b = (T.tensor([v], requires_grad=r) for v, r in ((1., True), (2., False), (3., True)))
        y = w * x
        z = y + b
        z.backward(retain_graph=True)
        print(w.grad, b.grad, x.grad)
        z.backward()
        print(w.grad, b.grad)
    agrees(printed(code), "tensor([2.]) tensor([1.]) None\ntensor([4.]) tensor([2.])")


def test_gradients_accumulate():
    def code(T):
        w, x = T.tensor([1.], requires_grad=True), T.tensor([2.], requires_grad=True)
        for _ in range(4):
            a, b = T.add(w, x), T.add(w, 1)
            y = T.mul(a, b)
            y.backward()
            print(w.grad)
        w.grad.zero_()
        print(w.grad)
    agrees(printed(code), "tensor([5.])\ntensor([10.])\ntensor([15.])\ntensor([20.])\ntensor([0.])")


def test_second_derivative():
    def code(T):
        x = T.tensor([3.], requires_grad=True)
        y = T.pow(x, 2)
        grad_1 = T.autograd.grad(y, x, create_graph=True)
        print(grad_1)
        grad_2 = T.autograd.grad(grad_1[0], x)
        print(grad_2)
    agrees(printed(code), "(tensor([6.], grad_fn=<MulBackward0>),)\n(tensor([2.]),)")


def test_several_outputs_are_summed():
    def code(T):
        x1, x2 = T.tensor(1.0, requires_grad=True), T.tensor(2.0, requires_grad=True)
        y1, y2 = x1 * x2, x1 + x2
        print(*T.autograd.grad(outputs=y1, inputs=[x1, x2], retain_graph=True))
        print(*T.autograd.grad(outputs=[y1, y2], inputs=[x1, x2]))
    agrees(printed(code), "tensor(2.) tensor(1.)\ntensor(3.) tensor(2.)")


def test_grad_of_an_intermediate():
    def code(T):
        x, w, b = T.ones(1), T.rand(1, requires_grad=True), T.rand(1, requires_grad=True)
        y = w * x
        z = y + b
        print(T.autograd.grad(z, y))
        found = []
        handle = y.register_hook(lambda g: found.append(g))
        (y + b).backward()
        print(found)
        handle.remove()
        (w * x + b).backward()
        print(len(found))
    agrees(printed(code), "(tensor([1.]),)\n[tensor([1.])]\n1")


def test_control_flow():
    def code(T):
        x = T.tensor(1.5, requires_grad=True)
        for steps in (1, 3):
            y = x
            for _ in range(steps):
                y = y * 2 if y.item() < 5 else y * y
            print(T.autograd.grad(y, x))
    agrees(printed(code), "(tensor(2.),)\n(tensor(48.),)")


# --- the graph --------------------------------------------------------------------------------------------------------

def test_node_names():
    def code(T):
        w, x = T.tensor([1.], requires_grad=True), T.tensor([2.], requires_grad=True)
        a = T.add(w, x)
        y = T.mul(a, T.add(w, 1))
        print(w.grad_fn, x.grad_fn, a.grad_fn, y.grad_fn, (a * a).sum().grad_fn, a.exp().grad_fn)
        print(y.grad_fn.next_functions)
        print(a.grad_fn.next_functions)
        print((w * T.ones(1)).grad_fn.next_functions)
    agrees(printed(code),
           "None None <AddBackward0 object at 0x> <MulBackward0 object at 0x> <SumBackward0 object at 0x> "
           "<ExpBackward0 object at 0x>\n((<AddBackward0 object at 0x>, 0), (<AddBackward0 object at 0x>, 0))\n"
           "((<AccumulateGrad object at 0x>, 0), (<AccumulateGrad object at 0x>, 0))\n"
           "((<AccumulateGrad object at 0x>, 0), (None, 0))")


def test_sum_of_squares_has_a_node():
    def code(T):
        a = T.randn(2, 2)
        a = (a * 3) / (a - 1)
        print(a.requires_grad)
        a.requires_grad_(True)
        print(a.requires_grad)
        print((a * a).sum().grad_fn)
    agrees(printed(code), "False\nTrue\n<SumBackward0 object at 0x>")


# --- switching it off -------------------------------------------------------------------------------------------------

def test_disabling():
    def code(T):
        x, w = T.ones(1), T.rand(1, requires_grad=True)
        with T.no_grad():
            print((x * w).requires_grad)

        @T.no_grad()
        def double(t):
            return t * 2
        print(double(w).requires_grad)
        T.set_grad_enabled(False)
        print((x * w).requires_grad)
        T.set_grad_enabled(True)
        print((x * w).requires_grad, (x * w).detach().requires_grad)
    agrees(printed(code), "False\nFalse\nFalse\nTrue False")


def test_data_shares_storage_outside_the_graph():
    def code(T):
        x = T.ones(1, requires_grad=True)
        print(x.data, x.data.requires_grad)
        y = 2 * x
        x.data *= 100
        y.backward()
        print(x)
        print(x.grad)
    agrees(printed(code), "tensor([1.]) False\ntensor([100.], requires_grad=True)\ntensor([2.])")


# --- in place ---------------------------------------------------------------------------------------------------------

def test_in_place():
    def code(T):
        a = T.ones((1,))
        before = id(a)
        a += T.ones((1,))
        print(a, id(a) == before)
        a = a + T.ones((1,))
        print(a, id(a) == before)
    agrees(printed(code), "tensor([2.]) True\ntensor([3.]) False")


def test_in_place_on_a_leaf():
    agrees(lambda T: T.tensor([1.], requires_grad=True).add_(1),
           "RuntimeError: a leaf Variable that requires grad is being used in an in-place operation.")


def test_saved_tensor_modified():
    def code(T):
        w, x = T.tensor([1.], requires_grad=True), T.tensor([2.], requires_grad=True)
        a, b = T.add(w, x), T.add(w, 1)
        y = T.mul(a, b)
        a += 1
        y.backward()
    text = said(ng, code)
    assert text.startswith("RuntimeError: one of the variables needed for gradient computation has been modified by an "
                           "inplace operation: [torch.FloatTensor [1]], which is output 0 of Add, is at version 1; "
                           "expected version 0 instead.")
    assert "saved by MulBackward0 as 'self'" in text and "test_seed_contract.py:" in text


def test_update_rules():
    def code(T):
        w = T.tensor([1., 2.], requires_grad=True)
        (w * w).sum().backward()
        with T.no_grad():
            w -= 0.5 * w.grad
            w.grad.zero_()
        print(w, w.grad)
        w.data.sub_(1.0)
        print(w)
        g = T.tensor([-1., 2., -3.])
        g[g < 0] = 0
        print(g)
    agrees(printed(code), "tensor([0., 0.], requires_grad=True) tensor([0., 0.])\n"
                          "tensor([-1., -1.], requires_grad=True)\ntensor([0., 2., 0.])")


# --- operations -------------------------------------------------------------------------------------------------------

def test_operations():
    def code(T):
        x = T.tensor([[1., -2.], [3., 4.]], requires_grad=True)
        print(x.mm(x), x.clamp(min=0), x.clone(), x[0, 0].item())
        print(T.ones(2).expand_as(x), x.ge(0.5).float().squeeze(), x.size(0), x.detach().numpy(), x.view(4))
        print(x == x.t(), x + 1, 1 - x, x * 2, x / 2, x**2, x @ x)
        first, second = x
        print(first, second, [v.item() for v in first])
    agrees(printed(code))
