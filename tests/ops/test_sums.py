"""Freedom of order belongs to the accumulation alone: IR of kernels that sum, values far from zero, division."""

import re

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import jit, native

RNG = np.random.RandomState(0)
X = RNG.randn(6, 300) * 3
OFFSETS = (0.0, 1e4, 1e8)


def _float_lines(native):
    text = native.cres.library.get_llvm_str()
    return [line for line in text.splitlines() if re.search(r" = f(add|sub|mul|div) ", line)]


@pytest.fixture
def compiled(monkeypatch):
    """The native functions that are built meanwhile; the disk cache keeps no LLVM text, so it is left out."""
    from numbagrad.kernel import cache
    made, build = [], native.compile_function

    def recorded(*args, **kwargs):
        made.append(build(*args, **kwargs))
        return made[-1]
    monkeypatch.setattr(cache, "attach", lambda dispatcher, key: dispatcher)
    monkeypatch.setattr(native, "compile_function", recorded)
    return made


def _kernels():
    from numbagrad.ops.loss import cross_entropy_kernels
    from numbagrad.ops.norm import layer_norm
    from numbagrad.ops.reduce import logsumexp, softmax
    return [softmax.softmax_rows, softmax.log_softmax_rows, softmax.softmax_gradient, cross_entropy_kernels.ce_rows,
            cross_entropy_kernels.ce_plain, layer_norm.ln_forward, layer_norm.ln_gradient, logsumexp.lse]


@pytest.mark.parametrize("kernel", _kernels(), ids=lambda k: k.name)
def test_only_sums_are_reassociated(kernel, compiled):
    jit.Kernel(kernel.fn, kernel.fast).native(ng.float32)
    lines = _float_lines(compiled[-1])
    free = [line for line in lines if "reassoc" in line]
    assert free, "no accumulation is free to be vectorized"
    assert all(" fadd " in line for line in free)
    assert any(" fsub " in line for line in lines) and not any("arcp" in line for line in lines)


@pytest.mark.parametrize("name", ["sum", "mean", "nansum", "norm_two", "prod"])
def test_folds_map_and_finish_in_order(name, compiled):
    from numbagrad.core.registry import REGISTRY
    op = REGISTRY[name]
    for form in ("rows", "columns"):
        from numbagrad.dispatch import fold
        fold.build(op, form, "f4", "f4", "f8", True, True)
        lines = _float_lines(compiled[-1])
        free = [line for line in lines if "reassoc" in line]
        assert free and all((" fmul " if name == "prod" else " fadd ") in line for line in free)


def test_free_order_of_a_combination_that_is_more_than_one_operation_is_refused():
    from numbagrad.dispatch.reduction import Reduction
    with pytest.raises(TypeError, match="belongs into map"):
        Reduction(lambda acc, x: acc + x * x, start=0.0, wide=True, name="sum_of_squares_combined")


def test_accumulate_of_every_type():
    text = ("def f(x_a, out_a, n):\n    x, out = ptr_{0}(x_a), ptr_{0}(out_a)\n    t = x[0] - x[0]\n"
            "    for i in range(n):\n        t = accumulate(t, x[i])\n    out[0] = t\n")
    for code, dtype in (("f4", np.float32), ("f8", np.float64), ("i8", np.int64), ("c8", np.complex64), ("c16", np.complex128)):
        x = (np.arange(7) * (1 + 2j) if code[0] == "c" else np.arange(7)).astype(dtype)
        out = np.zeros(1, dtype)
        jit.compile_source(text.format(code), "f", "iii", key=code).entry(x.ctypes.data, out.ctypes.data, 7)
        assert out[0] == x.sum(), code


FAMILIES = {
    "log_softmax": lambda F, x: F.log_softmax(x, -1),
    "log_softmax, columns": lambda F, x: F.log_softmax(x.T, 0).T,
    "softmax": lambda F, x: F.softmax(x, -1),
    "cross_entropy": lambda F, x: F.cross_entropy(x, _targets(x), reduction="none"),
    "cross_entropy, mean": lambda F, x: F.cross_entropy(x, _targets(x)),
    "cross_entropy, smoothed": lambda F, x: F.cross_entropy(x, _targets(x), label_smoothing=0.3),
    "cross_entropy, image": lambda F, x: F.cross_entropy(x.reshape(2, 3, 300), _targets(x, (2, 300), 3)),
    "gradient": lambda F, x: _gradient(F, x),
    "spread of lse": lambda F, x: x - x.logsumexp(1, keepdim=True),
}


def _targets(x, shape=(6,), classes=300):
    at = np.arange(np.prod(shape)).reshape(shape) * 7 % classes
    return type(x).new_tensor(x, at, dtype=ng.int64 if isinstance(x, ng.Tensor) else _torch().int64)


def _torch():
    return pytest.importorskip("torch")


def _gradient(F, x):
    x = x.detach().requires_grad_()
    F.cross_entropy(x, _targets(x)).backward()
    return x.grad


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_digits_are_lost_far_from_zero(name, offset):
    torch = _torch()
    x = (X + offset).astype(np.float32)
    right = FAMILIES[name](torch.nn.functional, torch.tensor(x.astype(np.float64))).detach().numpy()
    got = FAMILIES[name](ng.nn.functional, ng.tensor(x)).detach().numpy()
    # What logsumexp itself is rounded to, where it is subtracted.
    allowed = 4e-6 + (np.spacing(np.float32(offset)) if name == "spread of lse" else 0)
    np.testing.assert_allclose(got, right, 4e-6, allowed)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"])
def test_losses_of_small_differences_of_large_numbers(name, offset):
    torch = _torch()
    x, y = (X + offset).astype(np.float32), (X[::-1] + offset).astype(np.float32)
    for reduction in ("mean", "sum", "none"):
        given = [torch.tensor(v.copy()).double() for v in (x, y)]
        right = getattr(torch.nn.functional, name)(*given, reduction=reduction)
        got = getattr(ng.nn.functional, name)(ng.tensor(x), ng.tensor(y.copy()), reduction=reduction)
        np.testing.assert_allclose(got.numpy(), right.numpy(), 2e-6)


@pytest.mark.parametrize("divisor", [3.0, 7.0, 10.0, 49.0, 1e-39, 3e38])
def test_division_is_exact(divisor):
    x = np.concatenate([np.arange(1, 999), [1e-39, 1e-40, 3e38]]).astype(np.float32)
    d = np.float32(divisor)
    with np.errstate(all="ignore"):
        right = x / d
    for got in (ng.tensor(x) / divisor, ng.tensor(x) / ng.tensor(d), ng.tensor(x) / ng.full(x.shape, float(d)),
                ng.tensor(x).clone().div_(divisor), ng.tensor(np.stack([x, x])) / ng.tensor([[d], [d]])):
        assert (got.numpy() == right).all()
