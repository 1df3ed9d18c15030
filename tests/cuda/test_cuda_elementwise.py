"""Every elementwise op of the registry on the device: against the CPU, and each layout against the contiguous one."""

import numpy as np
import pytest
from cuda_twin import arguments, assert_close, assert_same, call, grads, move, ops, tensors

import numbagrad as ng
from numbagrad.extend import REGISTRY

OPS = ops("elementwise")


def expanded(args):
    """The tensors among the arguments, broadcast to one shape and row-major: what the contiguous kernels take."""
    shapes = [tuple(t.shape) for t in args if isinstance(t, ng.Tensor)]
    shape = np.broadcast_shapes(*shapes)
    return [t.expand(shape).clone() if isinstance(t, ng.Tensor) and tuple(t.shape) != shape else t for t in args]


def test_the_matrix_is_the_registry():
    assert len(OPS) > 100 and {"add", "exp", "pow", "gelu", "lt"} <= set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_values_and_gradients(name):
    """Forward and backward of the op's samples equal the CPU's; broadcast inputs get gradients of their own shape."""
    op = REGISTRY[name]
    for sample in op.samples:
        args, kwargs = arguments(op, sample)
        if op.accepts == "int" and not any(t.dtype.category < 2 for t in tensors(args)):
            continue
        there, options = move(args), move(kwargs)
        want = call(op, expanded(args), kwargs)
        got = call(op, there, options)
        assert got.device == ng.device("cuda", 0)
        assert_close(got, want, f"{name} {sample}")
        assert got.requires_grad == want.requires_grad
        for g, w in zip(grads(got, there), grads(want, args)):
            assert (g is None) == (w is None)
            if g is not None:
                assert_close(g, w, f"gradient of {name} {sample}")


@pytest.mark.parametrize("name", OPS)
def test_layouts(name):
    """Transposed, sliced and expanded inputs give the same bits as row-major copies of them."""
    op = REGISTRY[name]
    sample = op.samples[0]
    args, kwargs = arguments(op, sample, requires_grad=False)
    if op.accepts == "int" and not any(t.dtype.category < 2 for t in tensors(args)):
        pytest.skip("samples are made by the integer tests")
    if not all(t.ndim == 2 for t in tensors(args)):
        args = [ng.ones(3, 4, dtype=t.dtype) * t.reshape(-1)[:1] if isinstance(t, ng.Tensor) else t for t in args]
    there = move(args)
    want = call(op, there, kwargs)
    transposed = [t.t().clone().t() if isinstance(t, ng.Tensor) else t for t in there]
    assert all(not t.is_contiguous() for t in tensors(transposed))
    assert_same(call(op, transposed, kwargs), want, "transposed")
    padded = []
    for t in there:
        if isinstance(t, ng.Tensor):
            wide = ng.zeros(t.shape[0] + 1, t.shape[1] + 2, dtype=t.dtype, device="cuda")
            wide[1:, 1:-1].copy_(t)
            t = wide[1:, 1:-1]
            assert t.storage_offset() > 0 and not t.is_contiguous()
        padded.append(t)
    assert_same(call(op, padded, kwargs), want, "slices of a larger tensor")
    rows = [t[:1] if isinstance(t, ng.Tensor) else t for t in there]
    wide = [t.expand(3, t.shape[1]) if isinstance(t, ng.Tensor) else t for t in rows]
    assert_same(call(op, wide, kwargs), call(op, rows, kwargs).expand(3, rows[0].shape[1]), "stride 0")


@pytest.mark.parametrize("name", ["exp", "mul", "div", "tanh", "pow", "sin", "erf", "lgamma"])
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_floating_types(name, dtype):
    op = REGISTRY[name]
    args, kwargs = arguments(op, op.samples[0], dtype)
    there = move(args)
    want, got = call(op, args, kwargs), call(op, there, kwargs)
    assert_close(got, want)
    for g, w in zip(grads(got, there), grads(want, args)):
        assert_close(g, w)


@pytest.mark.parametrize("dtype", [ng.uint8, ng.int8, ng.int32, ng.int64, ng.bool])
def test_integers(dtype):
    a = ng.tensor([[7, 120, 3], [0, 1, 100]]).to(dtype)
    b = ng.tensor([[2, 100, 3], [1, 1, 7]]).to(dtype)
    x, y = a.cuda(), b.cuda()
    calls = [lambda p, q: p + q, lambda p, q: p * q, lambda p, q: p < q, lambda p, q: p == q, lambda p, q: p & q,
             lambda p, q: p / q]
    if dtype is not ng.bool:
        calls += [lambda p, q: p - q, lambda p, q: p // q, lambda p, q: p % q, lambda p, q: p ** 2, lambda p, q: p + 3]
    for f in calls:
        assert_close(f(x, y), f(a, b))


def test_complex():
    a = ng.tensor([[1 + 2j, -0.5j], [0.25, -1 + 1j]], requires_grad=True)
    b = move(a)
    assert_close(b.detach().abs(), a.detach().abs())
    for f in (lambda z: z * z + 1j, lambda z: z.exp(), lambda z: z * z * z):
        got, want = f(b), f(a)
        assert_close(got, want)
        assert_close(grads(got, [b])[0], grads(want, [a])[0])


def test_promotion_and_numbers():
    x = ng.tensor([1, 2, 3], device="cuda")
    assert_close(x + 0.5, ng.tensor([1.5, 2.5, 3.5]))
    assert_close(x + ng.tensor(0.5), ng.tensor([1.5, 2.5, 3.5]))
    assert_close(x.float() * x, ng.tensor([1.0, 4.0, 9.0]))
    assert (x.double() + x.float()).dtype is ng.float64


def test_sizes_around_the_grid():
    """One thread, a block less one, whole blocks, more elements than threads: every tail of the grid-stride loop."""
    from numbagrad.kernel import cuda
    t = cuda.target()
    whole = t.block * t.blocks
    for n in (1, t.block - 1, t.block, t.block + 1, whole - 1, whole, whole + 1, 3 * whole + 1):
        a = ng.arange(n).float()
        assert_same((a.cuda() * 2).cpu(), a * 2)


def test_empty():
    x = ng.zeros(0, 3, device="cuda", requires_grad=True)
    y = (x * 2).exp()
    assert y.shape == (0, 3)
    y.sum().backward()
    assert x.grad.shape == (0, 3) and x.grad.device.type == "cuda"


def test_wide_indices():
    """The 64-bit form of the index arithmetic gives what the 32-bit form gives."""
    from numbagrad.kernel.cuda import emit
    x = ng.arange(24).float().reshape(2, 3, 4).cuda()
    views = [(x, x), (x.transpose(0, 2), x.transpose(0, 2)), (x[:, 1:], x[:, :1])]
    before = [(a * b + a).cpu() for a, b in views]
    old, emit.SMALL = emit.SMALL, 0
    try:
        after = [(a * b + a).cpu() for a, b in views]
    finally:
        emit.SMALL = old
    for a, b in zip(after, before):
        assert_same(a, b)


def test_in_place_on_views():
    for device in ("cpu", "cuda"):
        x = ng.arange(12, device=device).float().reshape(3, 4).requires_grad_()
        y = x * 1
        y[:, 1].mul_(3)
        y += 1
        y.t()[2].copy_(ng.ones(3, device=device))
        (y * y).sum().backward()
        if device == "cpu":
            values, grad = y.detach(), x.grad
    assert_close(y, values)
    assert_close(x.grad, grad)
