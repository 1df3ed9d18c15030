"""Arguments that differ in dtype or kind from what an op expects: computed as PyTorch does, or refused by name."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")
VALUES = np.array([[1.1, 2.3, 3.7], [0.123, 1.457, 0.9]], np.float32)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "nansum", "cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int32"])
@pytest.mark.parametrize("to", ["float16", "float32", "float64", "int64"])
def test_out_says_the_dtype_of_a_sum(name, dtype, to):
    """A sum into ``out=`` is computed in the dtype of ``out``; where PyTorch refuses it, so do we."""
    def run(lib):
        x = lib.from_numpy(VALUES.copy()).to(getattr(lib, dtype))
        out = lib.empty(0, dtype=getattr(lib, to))
        getattr(lib, name)(x, 1, out=out)
        return out.to(lib.float64).numpy()
    try:
        wanted = run(torch)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            run(ng)
    else:
        np.testing.assert_allclose(run(ng), wanted, rtol=2e-3 if to == "float16" else 1e-6)


@pytest.mark.parametrize("dtype", [ng.float16, ng.bfloat16, ng.float64, ng.int64, ng.complex64])
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_solve_triangular_computes_in_the_dtype_of_a(dtype, left):
    """The right side is converted, its gradient converted back; dtypes of A without a kernel are refused."""
    name = str(dtype).split(".")[1]

    def run(lib, of):
        a = (lib.eye(2) * 3).to(getattr(lib, of))
        b = lib.ones(2, 2).to(getattr(lib, name))
        b.requires_grad_(b.is_floating_point())
        x = lib.linalg.solve_triangular(a, b, upper=True, left=left)
        if x.requires_grad:
            x.sum().backward()
            assert b.grad.dtype is b.dtype
        return x.detach(), b.grad
    for mine, theirs in zip(run(ng, "float32"), run(torch, "float32"), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert str(mine.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
            np.testing.assert_allclose(mine.float().numpy(), theirs.float().numpy(), rtol=4e-3)
    for of in ("float16", "bfloat16", "int32", "bool"):
        refused = []
        for lib in (ng, torch):
            with pytest.raises(NotImplementedError) as found:
                run(lib, of)
            refused.append(str(found.value))
        assert refused[0] == refused[1]


@pytest.mark.parametrize("name", ["random_", "bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_"])
def test_fills_of_complex_tensors(name):
    """What has no complex distribution is refused and nothing is written."""
    x = ng.zeros(3, dtype=ng.complex64)
    with pytest.raises(NotImplementedError, match=f"{name}.*ComplexFloat"):
        getattr(x, name)(*([0.5] if name == "geometric_" else []))
    assert not bool(x.any()) and x._version == 0
    with pytest.raises(NotImplementedError, match="ComplexFloat"):
        ng.bernoulli(x, 0.5)


@pytest.mark.parametrize("data", [[[], [1]], [[[]], [[1]]], [[], []], [(), [2, 3], []]])
def test_nested_lists_behind_an_empty_one(data):
    """Behind an empty first list PyTorch looks at no other."""
    assert tuple(ng.tensor(data).shape) == tuple(torch.tensor(data).shape)


X = ng.arange(6.0).reshape(2, 3)
F = ng.nn.functional


@pytest.mark.parametrize("call, text", [
    (lambda: X.clone().addcdiv_(X, X + 1, value="x"), r"addcdiv_\(\): argument 'value' .*must be Number, not str"),
    (lambda: X.clone().addcmul_(X, X, value=None), r"addcmul_\(\): argument 'value' .*must be Number, not NoneType"),
    (lambda: F.leaky_relu_(X.clone(), "x"), r"argument 'negative_slope' .*must be (Number|float), not str"),
    (lambda: ng.tensordot(X, None, 1), r"tensordot\(\): argument 'b' \(position 2\) must be Tensor, not NoneType"),
    (lambda: ng.tensordot(X, X.t(), ([1.0], [0])), "argument 'dims_self' .* found element of type float"),
    (lambda: ng.vdot(X[0], None), r"vdot\(\): argument 'other' \(position 2\) must be Tensor, not NoneType"),
    (lambda: ng.diag_embed(None), r"diag_embed\(\): argument 'input' \(position 1\) must be Tensor, not NoneType"),
    (lambda: ng.hsplit(X, ""), r"hsplit\(\): argument 'indices_or_sections' \(position 2\) must be tuple of ints, not str"),
    (lambda: ng.vsplit(X, [None]), "vsplit.* found element of type NoneType at pos 0"),
    (lambda: ng.tensor_split(X, 1.5), r"tensor_split\(\): argument 'indices_or_sections' .* not float"),
    (lambda: ng.round(X, decimals=0.5), r"round\(\): argument 'decimals' must be int, not float"),
    (lambda: X.clone().round_(decimals="x"), r"round\(\): argument 'decimals' must be int, not str"),
    (lambda: ng.lerp(1.0, X, 0.5), r"lerp\(\): argument 'input' \(position 1\) must be Tensor, not float"),
    (lambda: ng.normal(1.0, "x", [3]), r"normal\(\): argument 'std' \(position 2\) must be float, not str"),
    (lambda: ng.slice_scatter(X, X, 0.5), r"slice_scatter\(\): argument 'dim' \(position 3\) must be int, not float"),
    (lambda: ng.select_scatter(X, X[0], 0, "x"), r"select_scatter\(\): argument 'index' \(position 4\) must be int, not str"),
    (lambda: F.triplet_margin_loss(X, X, X, margin="x"), "argument 'margin' .* must be float, not str"),
    (lambda: F.mse_loss(X, 1.0), r"mse_loss\(\): argument 'target' \(position 2\) must be Tensor, not float"),
])
def test_refused_by_name(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_recurrent_options():
    """The options of a recurrent function are checked by kind, whatever their number."""
    x, h = ng.ones(3, 2, 2), ng.zeros(1, 2, 3)
    weights = [ng.ones(3, 2), ng.ones(3, 3)]
    for wrong in ((False, 1, 0.0, None, False, False), (False, 2.0, 0.0, False, False, False),
                  (False, 1, 0.0, False, False, 1)):
        with pytest.raises(TypeError, match=r"rnn_tanh\(\): argument '\w+' .*must be"):
            ng.rnn_tanh(x, h, weights, *wrong)
    with pytest.raises(TypeError, match="expected the options has_biases"):
        ng.rnn_tanh(x, h, weights, False, 1)


def test_numbers_that_numpy_made():
    """NumPy integers count parts; a matrix of powers of small integers does not wrap around."""
    for name, shape in (("hsplit", (2, 4)), ("vsplit", (2, 4)), ("dsplit", (2, 2, 4)), ("tensor_split", (4,))):
        parts = getattr(ng, name)(ng.ones(*shape), np.int64(2))
        assert [p.shape for p in parts] == [p.shape for p in getattr(ng, name)(ng.ones(*shape), 2)]
    x = ng.tensor([200, 3], dtype=ng.uint8)
    assert ng.vander(x, 3).tolist() == [[40000, 200, 1], [9, 3, 1]] and ng.vander(x, 3).dtype is ng.int64


def test_cosine_similarity_of_two_dtypes():
    """Both sides take the common dtype; integers alone have none."""
    a, b = VALUES, np.array([[1, 2, 3], [3, 2, 1]], np.int16)
    wanted = torch.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(ng.cosine_similarity(ng.from_numpy(a), ng.from_numpy(b)).numpy(), wanted.numpy(), rtol=1e-6)
    with pytest.raises(RuntimeError, match="common dtype to be floating point"):
        ng.cosine_similarity(ng.from_numpy(b), ng.from_numpy(b))


def test_cholesky_of_nan():
    """A matrix with NaN is not positive-definite; the element of the batch and the minor are named."""
    a = ng.eye(3).expand(2, 3, 3).clone()
    a[1, 1, 1] = float("nan")
    with pytest.raises(ng.linalg.LinAlgError, match=r"Batch element 1.*leading minor of order 2"):
        ng.linalg.cholesky(a)
