"""Memory that a backward or an optimizer relies on and that was exchanged since: refused or converted, as in PyTorch."""

import numpy as np
import pytest

import numbagrad as ng
import numbagrad.nn.functional as F

OPTIMIZERS = ("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop",
              "ASGD", "Rprop", "Adafactor")
FORWARDS = {
    "mul": lambda lib, x: x * x, "add": lambda lib, x: x + 1, "sin": lambda lib, x: x.sin(), "matmul": lambda lib, x: x @ x.t(),
    "sum": lambda lib, x: (x ** 2).sum(), "norm": lambda lib, x: x.norm(), "softmax": lambda lib, x: x.softmax(1),
    "prod": lambda lib, x: x.prod(1), "cumsum": lambda lib, x: (x.cumsum(0) * x),
    "linear": lambda lib, x: lib.nn.functional.linear(x, x),
    "cat": lambda lib, x: lib.cat([x, x]).exp(), "layer_norm": lambda lib, x: lib.nn.functional.layer_norm(x, (4,)),
}
START = np.linspace(-1, 1, 12).reshape(3, 4)


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("shape", [(2, 2), (5, 7), (12,)])
def test_data_of_other_sizes_between_forward_and_backward(name, shape):
    x = ng.tensor(START, requires_grad=True)
    y = FORWARDS[name](ng, x).sum()
    x.data = ng.ones(shape, dtype=ng.float64)
    with pytest.raises(RuntimeError):
        y.backward()


@pytest.mark.parametrize("name", FORWARDS)
def test_data_in_another_layout_is_read_where_it_lies(name, torch):
    grads = []
    for lib in (ng, torch):
        x = lib.tensor(START, requires_grad=True)
        y = FORWARDS[name](lib, x).sum()
        x.data = lib.tensor(START.T.copy()).t()  # the same numbers, by columns
        y.backward()
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-12, atol=1e-13)


def test_version_and_in_place_check_survive_an_exchange():
    x = ng.ones(3, requires_grad=True)
    version = x._version
    y = x * x
    x.data = ng.ones(4)
    assert x._version == version
    z = x * x
    with ng.no_grad():
        x.add_(1)
    assert x._version == version + 1
    for result in (y, z):
        with pytest.raises(RuntimeError):
            result.sum().backward()


@pytest.mark.parametrize("name", [n for n in FORWARDS if n not in ("softmax", "layer_norm")])  # PyTorch refuses these
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_unpack_hooks_may_return_another_dtype(name, dtype, torch):
    grads = []
    for lib in (ng, torch):
        x = lib.tensor(START.astype("f4"), requires_grad=True)
        with lib.autograd.graph.saved_tensors_hooks(
                lambda t, lib=lib: t.to(getattr(lib, dtype)) if t.is_floating_point() else t,
                                                    lambda t: t.float() if name in ("linear", "matmul") else t):
            y = FORWARDS[name](lib, x).sum()
        y.backward()
        assert x.grad.dtype is lib.float32
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=4e-3 if dtype == "float16" else 2e-6, atol=4e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("name", ["mul", "sin", "matmul", "norm", "softmax", "layer_norm"])
def test_unpack_hooks_that_return_other_sizes(name):
    x = ng.tensor(START, requires_grad=True)
    with ng.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t.reshape(-1)[:2]):
        y = FORWARDS[name](ng, x).sum()
    with pytest.raises(RuntimeError, match="sizes"):
        y.backward()


def test_custom_functions_see_what_the_hook_returns():
    class Double(ng.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            assert ctx.saved_tensors[0].shape == (2,)
            return g * 2
    x = ng.ones(5, requires_grad=True)
    with ng.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t[:2]):
        y = Double.apply(x)
    y.sum().backward()
    assert x.grad.tolist() == [2.0] * 5


def guarded(n):
    big = np.full(64, 777, np.float32)
    return big, ng.from_numpy(big[24:24 + n])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_another_size_is_refused(name):
    p = ng.nn.Parameter(ng.ones(16))
    opt = getattr(ng.optim, name)([p], lr=0.1, **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {}))
    p.grad = ng.ones(16)
    opt.step()
    for key, value in list(opt.state[p].items()):
        for n in (1, 2, 0) if key not in ("step", "mu_product", "mu", "eta") else (0, 3):
            big, opt.state[p][key] = guarded(n)
            before = p.detach().numpy().copy()
            with pytest.raises(RuntimeError):
                opt.step()
            assert (big == 777).all() and (p.detach().numpy() == before).all()
        opt.state[p][key] = value
    opt.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradient_of_another_size_is_refused(name, dtype):
    dtype = getattr(ng, dtype)
    p = ng.nn.Parameter(ng.ones(2, dtype=dtype))
    opt = getattr(ng.optim, name)([p], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    p.grad = ng.ones(2, dtype=dtype)
    p.data = ng.ones(16, dtype=dtype)
    with pytest.raises(RuntimeError, match="sizes"):
        opt.step()
    p.grad = ng.ones(16, dtype=dtype)
    opt.state.clear()
    opt.step()
    assert len(set(p.tolist())) == 1 and p.tolist()[0] < 1


def test_settings_that_need_state_the_group_has_not():
    p = ng.nn.Parameter(ng.ones(2))
    opt = ng.optim.RMSprop([p], lr=0.1)
    p.grad = ng.ones(2)
    opt.step()
    opt.param_groups[0]["centered"] = True
    with pytest.raises(KeyError, match="grad_avg"):
        opt.step()


def test_per_sample_weights_have_the_dtype_of_the_weight():
    w, index = ng.arange(8.0).view(4, 2), ng.tensor([[0, 1]])
    for weight, per in ((w, ng.float64), (w.double(), ng.float32), (w, ng.int64)):
        with pytest.raises(RuntimeError, match="dtype|type"):
            F.embedding_bag(index, weight, mode="sum", per_sample_weights=ng.ones(1, 2, dtype=per))
