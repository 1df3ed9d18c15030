"""Tensors on the device: transfers, copies, views, errors, the module ``numbagrad.cuda``, ops without a CUDA kernel."""


import numpy as np
import pytest
from cuda_twin import arguments, array, assert_close, assert_same, call, move, ops, tensors

import numbagrad as ng
from numbagrad import extend
from numbagrad.extend import REGISTRY
from numbagrad.kernel import cuda
from numbagrad.kernel.emit import Pointwise
from numbagrad.kernel.jit import T, kernel


@kernel
def double(x: "*T", n: int):
    for i in range(n):
        x[i] = T(2) * x[i]


@extend.kernel
def twice(x: "*T", y: "*T", start: int, stop: int):
    for i in range(start, stop):
        y[i] = T(2) * x[i]


DTYPES = [ng.bool, ng.uint8, ng.int16, ng.int64, ng.float16, ng.bfloat16, ng.float32, ng.float64, ng.complex64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(dtype):
    a = ng.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    x = a.cuda()
    assert x.is_cuda and x.get_device() == 0 and x.dtype is dtype and str(x.device) == "cuda:0"
    assert_same(x.cpu(), a)
    assert_same(x.t().cpu(), a.t())
    assert_same(a.t().cuda().cpu(), a.t())
    assert_same(x[1:, ::2].cpu(), a[1:, ::2])


@pytest.mark.parametrize("src", [ng.float64, ng.float32, ng.float16, ng.int64, ng.uint8])
@pytest.mark.parametrize("dst", [ng.float64, ng.float32, ng.bfloat16, ng.int32, ng.bool])
def test_transfer_converts(src, dst):
    """Device and dtype change in one call, in both directions and for views."""
    a = ng.tensor([[0.0, 1.0, 2.5], [3.0, 100.0, 7.0]]).to(src)
    for view in (a, a.t(), a[:, 1:], a[0], a[0, 1]):
        assert_same(view.to("cuda", dst).cpu(), view.to(dst))
        assert_same(view.cuda().to("cpu", dst), view.to(dst))


def test_to_is_recorded():
    a = ng.tensor([1.0, 2.0], requires_grad=True)
    y = a.to("cuda", ng.float64)
    assert y.grad_fn.name() == "ToCopyBackward0"
    (y * y).sum().backward()
    assert a.grad.device.type == "cpu" and a.grad.dtype is ng.float32 and a.grad.tolist() == [2.0, 4.0]


def test_same_object_when_nothing_changes():
    x = ng.ones(2, device="cuda")
    assert x.to("cuda") is x and x.cuda() is x and x.to("cuda:0") is x
    assert x.clone() is not x and x.clone().data_ptr() != x.data_ptr()


def test_creation():
    assert_same(ng.zeros(2, 3, device="cuda").cpu(), ng.zeros(2, 3))
    assert_same(ng.ones(2, 3, device="cuda", dtype=ng.int32).cpu(), ng.ones(2, 3, dtype=ng.int32))
    assert_same(ng.full((2,), 2.5, device="cuda").cpu(), ng.full((2,), 2.5))
    assert_same(ng.arange(5, device="cuda").cpu(), ng.arange(5))
    assert_same(ng.eye(3, device="cuda").cpu(), ng.eye(3))
    x = ng.tensor([1.5], device="cuda")
    assert_same(x.new_zeros(2).cpu(), ng.zeros(2))
    assert x.new_ones(2).is_cuda and ng.zeros_like(x).is_cuda and ng.empty_like(x).is_cuda
    with ng.device("cuda"):
        assert ng.tensor(1.0).is_cuda


@pytest.fixture
def default_device():
    ng.set_default_device("cuda")
    yield
    ng.set_default_device("cpu")


def test_the_default_device_is_where_tensors_are_filled(default_device):
    """Each of these called itself, or the CPU's memory, by way of a number made on the default device."""
    assert ng.ones(2).is_cuda and ng.ones(2).tolist() == [1, 1] and ng.eye(2).tolist() == [[1, 0], [0, 1]]
    assert ng.full((2,), 2.5).tolist() == [2.5, 2.5] and ng.full_like(ng.zeros(2), 3).tolist() == [3, 3]
    assert ng.ones_like(ng.zeros(2)).tolist() == [1, 1]
    host = ng.zeros(2, 2, dtype=ng.bfloat16, device="cpu")
    assert host[:, 1].fill_(1.5).tolist() == [1.5, 1.5] and host.tolist() == [[0, 1.5], [0, 1.5]]
    layer = ng.nn.Linear(3, 2)
    assert layer.weight.is_cuda and 0 < float(layer.weight.detach().abs().max()) <= 3 ** -0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill_in_every_dtype_and_layout(dtype):
    x, a = (ng.zeros(3, 4, dtype=dtype, device=d) for d in ("cuda", "cpu"))
    for t in (x, a):
        t.t()[1:].fill_(1)
        t[0].fill_(2 if dtype is not ng.bool else True)
    assert_same(x.cpu(), a)
    if dtype.is_floating_point:
        assert_same(x.fill_(0.1).cpu(), a.fill_(0.1))


@pytest.mark.parametrize("name, args", [
    ("uniform_", (-1.0, 2.0)), ("normal_", (1.0, 3.0)), ("exponential_", ()), ("geometric_", (0.3,)), ("cauchy_", ()),
    ("log_normal_", ()), ("random_", ()), ("bernoulli_", (0.25,))])
def test_random_fills_are_the_cpus(name, args):
    """Drawn on the CPU and moved, through any strides."""
    x, a = ng.zeros(4, 3, device="cuda"), ng.zeros(3, 4)
    ng.manual_seed(3)
    getattr(x.t(), name)(*args)
    ng.manual_seed(3)
    getattr(a, name)(*args)
    assert_same(x.t().cpu(), a)
    ng.manual_seed(3)
    chances = ng.tensor([0.5, 0.1, 0.9], device="cuda")
    assert set(x.bernoulli_(chances).cpu().flatten().tolist()) <= {0.0, 1.0}


SIMULATOR = pytest.mark.skipif(not cuda.simulated(), reason="about the simulator")


@SIMULATOR
def test_uninitialised_memory_is_not_zero():
    """The simulator fills fresh memory with NaN, so these tests would notice a read of what nothing wrote."""
    assert np.isnan(array(ng.empty(3, device="cuda"))).all()


def test_printing_and_numbers():
    x = ng.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    assert repr(x) == "tensor([1., 2.], device='cuda:0', requires_grad=True)"
    assert x[1].item() == 2.0 and x.tolist() == [1.0, 2.0] and float(x[0].detach()) == 1.0 and bool(x[0] > 0)
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        x.detach().numpy()


def test_copy_and_fill():
    x = ng.zeros(2, 3, device="cuda")
    x.copy_(ng.tensor([1.0, 2.0, 3.0]))
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
    x[1].fill_(7)
    x[:, 0].zero_()
    assert x.tolist() == [[0, 2, 3], [0, 7, 7]]
    host = ng.zeros(2, 3)
    host.copy_(x)
    assert_same(host, x.cpu())


def test_mixed_devices_are_refused():
    x, a = ng.ones(3, device="cuda"), ng.ones(3)
    message = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu"
    with pytest.raises(RuntimeError, match=message):
        x + a
    with pytest.raises(RuntimeError, match=message + r"! \(in mm\)"):
        ng.ones(3, 3, device="cuda").mm(ng.ones(3, 3))
    with pytest.raises(RuntimeError, match=message + r"! \(argument 'y' of kernel twice\)"):
        twice.launch(x, a, rows=3)
    with pytest.raises(RuntimeError, match=message + r"! \(in add\)"):
        cuda.launch_pointwise(Pointwise("add", ("x", "y"), (), ()), None, (x, a), (), (x,), (3,))
    with pytest.raises(RuntimeError, match=message):
        x.mul_(a)
    assert x.tolist() == [1, 1, 1]
    assert (x + ng.tensor(2.0)).tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError):
        x.grad = a


def test_invalid_device():
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        ng.ones(2, device="cuda:7")


def test_training_step():
    """Linear regression by gradient descent takes the same path on both devices."""
    def run(device):
        x = ng.linspace(-1, 1, 8).to(device)
        y = x * 3 + 0.5
        w = ng.zeros((), device=device, requires_grad=True)
        b = ng.zeros((), device=device, requires_grad=True)
        for _ in range(5):
            loss = ((w * x + b - y) ** 2).mean()
            loss.backward()
            with ng.no_grad():
                for p in (w, b):
                    p -= 0.3 * p.grad
                    p.grad = None
        return loss.detach(), w.detach(), b.detach()
    for got, want in zip(run("cuda"), run("cpu")):
        assert_close(got, want)


def test_second_order():
    def run(device):
        x = ng.tensor([0.3, 0.7], device=device, requires_grad=True)
        g, = ng.autograd.grad((x.sin() * x.exp()).sum(), x, create_graph=True)
        return ng.autograd.grad((g * g).sum(), x)[0]
    assert_close(run("cuda"), run("cpu"))


@pytest.mark.parametrize("name", ops("view"))
def test_views(name):
    """Views are geometry: the device gives the same elements as the CPU."""
    op = REGISTRY[name]
    for sample in op.samples:
        args, kwargs = arguments(op, sample, requires_grad=False)
        want, got = call(op, args, kwargs), call(op, move(args), kwargs)
        for g, w in zip(tensors(got), tensors(want)):
            assert g.is_cuda
            assert_same(g.cpu(), w, name)


def test_no_cpu_kernel_takes_a_device_address():
    """Any compiled CPU function refuses the address of a device tensor or of a view of it, alone or in a table."""
    x = ng.ones(4, device="cuda")
    for t in (x, x[1:], x[2:][1:]):
        with pytest.raises(NotImplementedError, match="this operation has no kernel for device 'cuda:0'"):
            double[ng.float32](t._ptr, t._n)
        with pytest.raises(NotImplementedError):
            np.array([t._ptr, 1], np.int64)
        assert t.data_ptr() == x.data_ptr() + 4 * t.storage_offset() and type(t.data_ptr()) is int
    assert x.tolist() == [1, 1, 1, 1]


def test_module():
    c = ng.cuda
    assert c.is_available() and c.why_not() is None and c.device_count() == 1 and c.current_device() == 0
    assert ("simulator" in c.get_device_name()) == cuda.simulated() and c.get_device_name("cuda:0") == c.get_device_name(0)
    c.set_device(0)
    c.set_device("cuda:0")
    with c.device(0), c.device(None), c.device_of(ng.ones(1)):
        assert c.current_device() == 0
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        c.set_device(3)
    with pytest.raises(ValueError, match="Expected a cuda device"):
        c.get_device_name("cpu")
    c.synchronize()
    c.empty_cache()


def test_memory_statistics():
    c = ng.cuda
    before = c.memory_allocated()
    c.reset_peak_memory_stats()
    x = ng.empty(1000, device="cuda")
    assert c.memory_allocated() - before == 4000
    y = ng.empty(500, dtype=ng.float64, device="cuda")
    view = y[10:]
    del x, y
    assert c.memory_allocated() - before == 4000 and c.max_memory_allocated() - before == 8000
    del view
    assert c.memory_allocated() == before
    c.reset_peak_memory_stats()
    assert c.max_memory_allocated() == before


def test_generator_state():
    c = ng.cuda
    c.manual_seed_all(5)
    state = c.get_rng_state()
    assert state.dtype is ng.uint8 and state.shape == (16,) and c.initial_seed() == 5
    c.manual_seed(-1)
    assert c.initial_seed() == 2**64 - 1
    c.set_rng_state(state)
    assert c.initial_seed() == 5
    with ng.random.fork_rng():
        ng.manual_seed(9)
        assert c.initial_seed() == 9
    assert c.initial_seed() == 5
    with pytest.raises(RuntimeError, match="RNG state is wrong size"):
        c.set_rng_state(ng.zeros(3, dtype=ng.uint8))


@SIMULATOR
def test_the_simulator_stops_foreign_addresses():
    """Addresses are checked against their allocation, so a wrong offset cannot read a neighbour."""
    x = ng.zeros(4, device="cuda")
    with pytest.raises(RuntimeError, match="outside of what is allocated"):
        cuda.target().pointer(x.data_ptr() - 4, "f4")


@pytest.mark.parametrize("dtype", [ng.float16, ng.bfloat16])
def test_half_types_are_added_in_float32(dtype):
    index, ones = ng.zeros(300, dtype=ng.int64, device="cuda"), ng.ones(300, dtype=dtype, device="cuda")
    for n in (4, 9000):  # all places in float32; those that occur
        assert ng.zeros(n, dtype=dtype, device="cuda").scatter_add(0, index, ones)[:2].tolist() == [300, 0]
        assert ng.zeros(n, 2, dtype=dtype, device="cuda").index_add(0, index, ones[:, None].expand(300, 2)).sum().item() == 600
    x = ng.zeros(3, dtype=dtype, device="cuda", requires_grad=True)
    x.as_strided((300, 3), (0, 1)).sum().backward()
    assert x.grad.tolist() == [300] * 3


@pytest.mark.parametrize("dtype", [ng.float16, ng.bfloat16])
def test_numbers_beside_half_types(dtype):
    x = ng.tensor([0.7, 0.1, 2.0, -6e4, 1e-7], device="cuda").to(dtype)
    here = x.cpu()
    for fn in (lambda t: t == 0.7, lambda t: t + 0.1, lambda t: t.fmod(0.7), lambda t: ng.add(t, t, alpha=1 / 3),
               lambda t: t > -6e4, lambda t: t - 1e-7):
        assert fn(x).cpu().equal(fn(here))
