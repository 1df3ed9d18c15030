"""Long sums of half types, forward and backward: errors against float64, at most twice PyTorch's."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch's errors are the measure")

RNG = np.random.default_rng(11)
N = 60000


def normal(*shape, off=0.0):
    return RNG.standard_normal(shape) + off


ROW, ROWS, COLUMNS = normal(N, off=0.5), normal(8, 6000, off=1.0), normal(6000, 8, off=1.0)
IMAGE = normal(4, 4, 40, 40, off=2.0)
CASES = {  # name: (function of the module and the tensors, the tensors)
    **{f"{name} of {kind}": (lambda m, x, name=name, dim=dim: getattr(m, name)(x, dim), (given,))
       for name in ("sum", "mean", "var", "std", "logsumexp", "softmax", "log_softmax", "cumsum", "logcumsumexp", "nanmean")
       for kind, given, dim in (("rows", ROWS, 1), ("columns", COLUMNS, 0))},
    "sum": (lambda m, x: x.sum(), (ROW,)), "mean": (lambda m, x: x.mean(), (ROW,)), "var": (lambda m, x: x.var(), (ROW,)),
    "norm": (lambda m, x: m.linalg.vector_norm(x), (ROW,)), "3-norm": (lambda m, x: m.linalg.vector_norm(x, 3), (ROW,)),
    "norms": (lambda m, x: m.linalg.vector_norm(x, dim=0), (COLUMNS,)),
    "cumprod": (lambda m, x: (1 + x / 999).cumprod(1), (ROWS,)),
    "mse_loss": (lambda m, x: m.nn.functional.mse_loss(x, x.detach().flip(0)), (ROW,)),
    "cross_entropy": (lambda m, x: m.nn.functional.cross_entropy(x, m.arange(8)), (ROWS,)),
    "layer_norm": (lambda m, x, w: m.nn.functional.layer_norm(x, (6000,), w), (ROWS, normal(6000))),
    "group_norm": (lambda m, x: m.nn.functional.group_norm(x, 2), (IMAGE,)),
    "batch_norm": (lambda m, x: m.nn.functional.batch_norm(x, None, None, training=True), (IMAGE,)),
    "rms_norm": (lambda m, x: m.nn.functional.rms_norm(x, (6000,)), (ROWS,)),
    "matmul": (lambda m, x, y: x @ y, (ROWS, COLUMNS)), "linear": (lambda m, x, w, b: m.nn.functional.linear(x, w, b), (
        COLUMNS, normal(5, 8), normal(5))),
    "conv2d": (lambda m, x, w, b: m.nn.functional.conv2d(x, w, b), (IMAGE, normal(3, 4, 5, 5), normal(3))),
    "conv_transpose2d": (lambda m, x, w: m.nn.functional.conv_transpose2d(x, w), (IMAGE, normal(4, 3, 5, 5))),
    "avg_pool1d": (lambda m, x: m.nn.functional.avg_pool1d(x[None], 3000, 100), (ROWS,)),
    "adaptive_avg_pool2d": (lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 1), (IMAGE,)),
    "attention": (lambda m, q: m.nn.functional.scaled_dot_product_attention(q, q, q), (normal(2, 400, 16),)),
    "broadcast": (lambda m, x, b: x * b, (COLUMNS, normal(8))),
    "interpolate": (lambda m, x: m.nn.functional.interpolate(x, size=(200, 300), mode="bilinear"), (normal(1, 1, 3, 4),)),
    "renorm": (lambda m, x: m.renorm(x, 2, 0, 5.0), (ROWS,)),
}


def given(m, dtype, array):
    """An array in a half type; in float64 the same numbers."""
    bits = torch.from_numpy(np.array(array, np.float64)).to(getattr(torch, dtype))
    if m is torch:
        return bits
    return ng.from_numpy(bits.reshape(-1).view(torch.int16).numpy()).view(getattr(ng, dtype)).reshape(tuple(bits.shape))


def outcome(m, name, dtype, double=False):
    """The result and the gradients in double precision."""
    fn, arrays = CASES[name]
    tensors = [given(m, dtype, a) for a in arrays]
    tensors = [(t.double() if double else t).detach().requires_grad_() for t in tensors]
    y = fn(m, *tensors)
    slope = given(m, dtype, np.random.default_rng(3).standard_normal(tuple(y.shape)))
    y.backward(slope.to(y.dtype))
    return [t.detach().double().numpy() for t in (y, *[t.grad for t in tensors])]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_errors(name, dtype):
    unit = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}[dtype]
    largest = {"float16": 65504, "bfloat16": 3e38}[dtype]
    results = outcome(torch, name, dtype, True), outcome(torch, name, dtype), outcome(ng, name, dtype)
    for exact, theirs, ours in zip(*results):
        inside = np.abs(exact) < largest
        scale = np.abs(exact[inside]).max() * unit
        most, rest = (np.nan_to_num(np.abs(found - exact)[inside] / scale, nan=1e9) for found in (ours, theirs))
        assert most.max() <= 3 * max(rest.max(), 0.3)  # (a single number may fall on the other side)
        assert np.sqrt((most ** 2).mean()) <= 2 * max(np.sqrt((rest ** 2).mean()), 0.02)
