"""Regions of autocast: what they cast, their state, errors and warnings, as PyTorch says it."""

import importlib
import inspect
import pickle
import threading

import pytest
from parity import agrees, torch

import numbagrad as ng
from numbagrad import nn
from numbagrad.base import modes
from numbagrad.dispatch import autocast as casts
from numbagrad.extend import REGISTRY


def layer(T):
    T.manual_seed(0)
    return T.nn.Linear(4, 3), T.randn(2, 4)


def test_layers_and_losses():
    def code(T):
        lin, x = layer(T)
        with T.autocast("cpu"):
            y = lin(x)
            loss = T.nn.functional.mse_loss(y, y.detach() + 1)
        loss.backward()
        return [y.dtype, loss.dtype, y.grad_fn, lin.weight.grad, lin.weight.grad.dtype, lin(x).dtype]
    agrees(code)


def test_pools_of_volumes_that_return_indices_keep_their_dtype():
    def code(T):
        x, pool = T.arange(64.0).reshape(1, 1, 4, 4, 4).bfloat16(), T.nn.functional.max_pool3d
        with T.autocast("cpu"):
            return [pool(x, 2), pool(x, kernel_size=2, ceil_mode=True), *pool(x, 2, return_indices=True),
                    *pool(x, 2, None, 0, 1, False, True), *T.nn.functional.adaptive_max_pool3d(x, 2, return_indices=True)]
    agrees(code)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("size", [(1, 1, 2, 3), (1, 1, 1, 3)])
def test_affine_grids_are_products(size, dtype):
    def code(T):
        maps = T.ones(1, 2, 3, dtype=getattr(T, dtype))
        with T.autocast("cpu"):
            return [T.nn.functional.affine_grid(maps, size, align_corners=False).dtype,
                    T.affine_grid_generator(maps, size, True).dtype]
    agrees(code)


def test_operators_and_methods():
    def code(T):
        _, x = layer(T)
        with T.autocast("cpu", dtype=T.float16):
            found = [x @ x.T, x.mm(x.T), x.T.__rmatmul__(x), T.einsum("ij,kj->ik", x, x), (x @ x.T).prod(),
                     T.stack([x, x.half()]), T.cat([x.half(), x.half()]), x.double() @ x.T.double(), x.half() + x,
                     T.nn.functional.pad(x[None].half(), (1, 1), "replicate"), T.nn.functional.pad(x.half(), (1, 1))]
        return [t.dtype for t in found]
    agrees(code)


def test_nested_regions():
    def code(T):
        _, x = layer(T)
        said = []
        with T.autocast("cpu"):
            with T.autocast("cpu", enabled=False):
                said += [(x @ x.T).dtype, T.is_autocast_enabled("cpu")]
                with T.autocast("cpu", dtype=T.float16):
                    said += [(x @ x.T).dtype, T.get_autocast_dtype("cpu")]
                said += [T.is_autocast_enabled("cpu"), T.get_autocast_dtype("cpu")]
            said += [(x @ x.T).dtype, T.is_autocast_cache_enabled()]
            with T.autocast("cpu", cache_enabled=False):
                said.append(T.is_autocast_cache_enabled())
        return [*said, (x @ x.T).dtype, T.is_autocast_enabled("cpu"), T.get_autocast_dtype("cpu"),
                T.is_autocast_cache_enabled()]
    agrees(code)


def test_outside_there_is_nothing_left():
    ng.mm(ng.ones(1, 1), ng.ones(1, 1))
    mm = REGISTRY["mm"].fn
    code = mm.__code__
    with ng.autocast("cpu"):
        assert mm.__code__ is not code
        assert list(inspect.signature(mm).parameters) == ["input", "mat2", "out"]
    assert mm.__code__ is code and not modes.STATE and not any(casts._inside.values())


def test_an_error_ends_the_region():
    with pytest.raises(RuntimeError, match="cannot be multiplied"), ng.autocast("cpu"):
        ng.mm(ng.ones(2, 3), ng.ones(2, 3))
    assert not modes.STATE
    with ng.autocast("cpu"):
        with pytest.raises(RuntimeError):
            ng.mm(ng.ones(2, 3), ng.ones(2, 3))
        assert ng.mm(ng.ones(2, 3), ng.ones(3, 2)).dtype is ng.bfloat16  # the error left the casts on


def test_leaves_are_cast_once():
    lin, x = layer(ng)
    with ng.autocast("cpu"):
        first, second = lin(x), lin(x)
        casts_of = [y.grad_fn.next_functions[2][0].next_functions[0][0] if y.grad_fn.next_functions[2][0].name()[0] == "T"
                    else y.grad_fn.next_functions[2][0] for y in (first, second)]
        assert casts_of[0] is casts_of[1]
        with ng.no_grad():
            lin.weight.fill_(1)
        stale = lin(x)
        ng.clear_autocast_cache()
        assert not ng.equal(stale, lin(x))
    assert not casts.STATE.cache
    with ng.autocast("cpu", cache_enabled=False):
        lin(x)
        assert not casts.STATE.cache


def test_a_cast_without_grad_is_not_taken_where_grad_is_wanted():
    def code(T):
        lin, x = layer(T)
        with T.autocast("cpu"):
            with T.no_grad():
                lin(x)
            lin(x).float().sum().backward()
        return [lin.weight.grad]
    agrees(code)


def test_other_threads_do_not_cast():
    x, found = ng.ones(2, 2), []
    with ng.autocast("cpu"):
        t = threading.Thread(target=lambda: found.append((x @ x, ng.is_autocast_enabled("cpu"))))
        t.start()
        t.join()
        assert (x @ x).dtype is ng.bfloat16
    assert found[0][0].dtype is ng.float32 and found[0][1] is False


def test_programs_of_calls_know_no_casts():
    """Calls that were planned before, and those that are planned inside."""
    x, y = ng.randn(3, 4), ng.randn(3, 4)
    for _ in range(150):
        ng.nn.functional.mse_loss(x, y)
        ng.cat((x, y))
    half = y.bfloat16()
    with ng.autocast("cpu"):
        for _ in range(150):
            assert ng.nn.functional.mse_loss(x, half).dtype is ng.float32
            assert ng.cat((x, half)).dtype is ng.float32
            assert ng.bmm(x[None], y.T[None]).dtype is ng.bfloat16
    for _ in range(20):
        assert ng.bmm(x[None], y.T[None]).dtype is ng.float32 and ng.cat((x, y)).dtype is ng.float32


def test_in_place_forms_and_out_do_not_cast():
    def code(T):
        a, b = T.ones(2, 2), T.ones(2, 2)
        with T.autocast("cpu"):
            said = [T.mm(a, b, out=T.zeros(2, 2)).dtype, T.zeros(2, 2).addmm_(a, b).dtype]
            try:
                T.zeros(2, 2).addmm_(a.bfloat16(), b.bfloat16())
            except RuntimeError:
                said.append("refused")
        return said
    agrees(code)


def test_decorators():
    def code(T):
        @T.autocast("cpu")
        def product(x):
            """Doc."""
            return x @ x
        return [product(T.ones(2, 2)).dtype, product.__name__, product.__doc__, T.autocast("cpu", T.bfloat16)(3)]
    agrees(code)


def test_functions_of_users():
    def code(T):
        said = []

        def function(cast_inputs):
            class Product(T.autograd.Function):
                @staticmethod
                @T.amp.custom_fwd(device_type="cpu", cast_inputs=cast_inputs)
                def forward(ctx, a, b):
                    ctx.save_for_backward(a, b)
                    said.append((a.dtype, T.is_autocast_enabled("cpu")))
                    return a @ b

                @staticmethod
                @T.amp.custom_bwd(device_type="cpu")
                def backward(ctx, g):
                    a, b = ctx.saved_tensors
                    said.append((g.dtype, T.is_autocast_enabled("cpu")))
                    return g @ b.T, a.T @ g
            return Product
        for cast_inputs in (None, T.float32, T.float16):
            a, b = (T.ones(2, 2, requires_grad=True) for _ in range(2))
            with T.autocast("cpu"):
                y = function(cast_inputs).apply(a, b)
            said.append(y.dtype)
            y.float().sum().backward()
            said.append(a.grad)
            said.append(function(cast_inputs).apply(a, b).dtype)
        return said
    agrees(code)


def test_checkpoints_cast_again():
    def code(T):
        checkpoint = importlib.import_module(T.__name__ + ".utils.checkpoint").checkpoint
        T.manual_seed(0)
        net = T.nn.Sequential(T.nn.Linear(4, 8), T.nn.Tanh(), T.nn.Linear(8, 2))
        said = []
        for reentrant in (False, True):
            x = T.ones(3, 4, requires_grad=True)
            net.zero_grad()
            with T.autocast("cpu"):
                y = checkpoint(net, x, use_reentrant=reentrant)
            y.float().sum().backward()
            said += [y.dtype, x.grad.dtype, [round(v, 2) for v in net[0].weight.grad[0].tolist()]]
        return said
    agrees(code)


def test_recurrent_layers():
    if torch() and not torch().ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("PyTorch has no LSTM in bfloat16 on this processor")

    def code(T):
        said = []
        T.manual_seed(0)
        for name in ("RNN", "GRU", "LSTM"):
            whole, cell, x = getattr(T.nn, name)(3, 4), getattr(T.nn, name + "Cell")(3, 4), T.randn(2, 5, 3)
            for given in (x, x.bfloat16()):
                with T.autocast("cpu"):
                    y, h = whole(given)
                    one = cell(given[0])
                h, one = h if name == "LSTM" else (h,), one if name == "LSTM" else (one,)
                said.append([t.dtype for t in (y, *h, *one)])
        return said
    agrees(code)


def test_higher_derivatives():
    def code(T):
        a = T.ones(2, 3, requires_grad=True)
        with T.autocast("cpu"):
            y = (a @ T.ones(3, 2)).float().pow(2).sum()
            g, = T.autograd.grad(y, a, create_graph=True)
            h, = T.autograd.grad(g.sum(), a)
        return [g, h]
    agrees(lambda T: [t.detach() for t in code(T)])


@pytest.mark.parametrize("ask", [
    lambda T: T.is_autocast_enabled(), lambda T: T.is_autocast_cpu_enabled(), lambda T: T.get_autocast_cpu_dtype(),
    lambda T: T.get_autocast_gpu_dtype(), lambda T: T.set_autocast_cpu_enabled(False), lambda T: T.set_autocast_enabled(False),
    lambda T: T.set_autocast_cpu_dtype(T.bfloat16), lambda T: T.set_autocast_gpu_dtype(T.float16),
    lambda T: T.get_autocast_dtype("mps"), lambda T: T.get_autocast_dtype("meta"),
    lambda T: T.amp.is_autocast_available("meta"),
    lambda T: T.amp.is_autocast_available("xpu"), lambda T: T.autocast("meta"), lambda T: T.autocast(T.device("cpu")),
    lambda T: type(T.autocast("cpu", dtype=T.float32)), lambda T: type(T.cpu.amp.autocast()),
    lambda T: T.amp.custom_fwd(device_type=T.device("cpu")), lambda T: T.amp.custom_bwd(device_type=3),
    lambda T: (T.autocast_increment_nesting(), T.autocast_increment_nesting(), T.autocast_decrement_nesting(),
               T.autocast_decrement_nesting()),
    lambda T: [f.__code__.co_argcount for f in (T.cuda.amp.custom_fwd(lambda c: 1), T.cuda.amp.custom_bwd(lambda c, d: 1))]])
def test_questions_and_errors(ask):
    agrees(ask)


def test_without_a_device_there_are_no_casts_there():
    def code(T):
        return [type(f()) for f in (lambda: T.autocast("cuda"), T.cuda.amp.autocast)]
    if not ng.cuda.is_available():
        agrees(code)


def test_state_is_set_by_functions():
    def code(T):
        x = T.ones(2, 2)
        T.set_autocast_enabled("cpu", True)
        T.set_autocast_dtype("cpu", T.float16)
        said = [(x @ x).dtype, T.is_autocast_enabled("cpu")]
        T.set_autocast_dtype("cpu", T.bfloat16)
        said.append((x @ x).dtype)
        T.set_autocast_enabled("cpu", False)
        return [*said, (x @ x).dtype]
    agrees(code)


def train(compiled):
    ng.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    x, y = ng.randn(8, 6), ng.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    optimizer, scaler = ng.optim.SGD(net.parameters(), 0.1), ng.amp.GradScaler("cpu", 8.0, growth_interval=2)

    def step(x, y):
        optimizer.zero_grad()
        with ng.autocast("cpu", dtype=ng.float16):
            loss = nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss
    first = step(x, y)
    step = ng.compile(step) if compiled else step
    return [first.item(), *[step(x, y).item() for _ in range(5)], scaler.get_scale()]


def test_compiled_steps():
    assert train(True) == pytest.approx(train(False), rel=1e-6)


def test_a_compiled_function_casts_where_it_is_called_in_a_region():
    lin, x = layer(ng)
    f = ng.compile(lambda x: lin(x))
    assert f(x).dtype is ng.float32
    with ng.autocast("cpu"):
        assert f(x).dtype is ng.bfloat16
        with ng.autocast("cpu", dtype=ng.float16):
            assert f(x).dtype is ng.float16
        assert ng.equal(f(x), lin(x))
    assert f(x).dtype is ng.float32


def test_state_that_lasts_is_refused_in_a_compiled_function():
    @ng.compile
    def f(x):
        ng.set_autocast_enabled("cpu", True)
        return x @ x
    with pytest.raises(RuntimeError, match="changes the autocast state beyond the end of the call"):
        f(ng.ones(2, 2))
    assert not modes.STATE


def test_functions_pickle_inside():
    with ng.autocast("cpu"):
        f = pickle.loads(pickle.dumps(ng.nn.functional.mse_loss))
    assert f is ng.nn.functional.mse_loss
