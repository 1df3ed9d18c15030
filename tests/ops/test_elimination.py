"""LU and LDL factors, and what tells of missing ones by a number: against PyTorch, with gradients to second order."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base import user_code
from numbagrad.ops.linalg import former

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

SHAPES = [(1, 1), (3, 3), (2, 5, 5), (33, 33), (5, 3), (3, 5), (2, 2, 20, 17), (2, 16, 35), (0, 3), (3, 0), (2, 0, 0),
          (0, 3, 3)]
DTYPES = ["float32", "float64", "complex64", "complex128"]
TIMES = 10  # the last of them by a plan


def draw(shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape) if dtype.startswith("c") else a).astype(dtype)


def square(shape=(3, 3), dtype="float64", seed=0):
    return draw(shape, dtype, seed) + 2 * np.eye(shape[-1], dtype=dtype)


def flat(found):
    return list(found) if isinstance(found, (tuple, list)) else [found]


def same(call, *arrays):
    """The same values, dtypes and names of nodes from both libraries, many times over."""
    theirs = flat(call(torch, *[torch.tensor(a) for a in arrays]))
    given = [ng.tensor(a) for a in arrays]
    for _ in range(TIMES):
        ours = flat(call(ng, *given))
        assert len(ours) == len(theirs)
        for x, y in zip(ours, theirs, strict=True):
            assert str(x.dtype) == str(y.dtype) and tuple(x.shape) == tuple(y.shape)
            x, y = x.numpy(), y.resolve_conj().numpy()
            tolerance = 500 * np.finfo(y.dtype).eps if y.dtype.kind in "fc" else 0
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


CALLS = {
    "lu": lambda t, a: t.linalg.lu(a),
    "lu_factor": lambda t, a: t.linalg.lu_factor(a),
    "lu_factor_ex": lambda t, a: t.linalg.lu_factor_ex(a, check_errors=True),
    "lu_unpack": lambda t, a: t.lu_unpack(*t.linalg.lu_factor_ex(a)[:2]),
    "data alone": lambda t, a: t.lu_unpack(*t.linalg.lu_factor_ex(a)[:2], unpack_pivots=False),
    "pivots alone": lambda t, a: t.lu_unpack(*t.linalg.lu_factor_ex(a)[:2], unpack_data=False)}
SQUARE = {
    "inv_ex": lambda t, a: t.linalg.inv_ex(a),
    "cholesky_ex": lambda t, a: t.linalg.cholesky_ex(a @ a.mH + t.eye(a.shape[-1], dtype=a.dtype)),
    "upper": lambda t, a: t.linalg.cholesky_ex(a @ a.mH + t.eye(a.shape[-1], dtype=a.dtype), upper=True, check_errors=True),
    "ldl_factor_ex": lambda t, a: t.linalg.ldl_factor_ex(a + a.mT),
    "hermitian": lambda t, a: t.linalg.ldl_factor(a + a.mH, hermitian=True),
    "ldl_solve": lambda t, a: t.linalg.ldl_solve(*t.linalg.ldl_factor(a + a.mT), a[..., :2]),
    "hermitian solve": lambda t, a: t.linalg.ldl_solve(*t.linalg.ldl_factor(a + a.mH, hermitian=True), a, hermitian=True)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_factors(shape, dtype):
    a = draw(shape, dtype)
    for call in CALLS.values():
        same(call, a)
    if shape[-1] == shape[-2] and a.size:
        for call in SQUARE.values():
            same(call, square(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_systems(dtype):
    a = square((2, 4, 4), dtype)
    for left in (True, False):
        b = draw((2, 4, 3) if left else (2, 3, 4), dtype, 1)
        for adjoint in (True, False):
            same(lambda t, p, q, k=(left, adjoint): t.linalg.lu_solve(*t.linalg.lu_factor(p), q, left=k[0], adjoint=k[1]), a, b)
        same(lambda t, p, q, left=left: t.linalg.solve_ex(p, q, left=left), a, b)
    wide = draw((5, 2, 4, 3), dtype, 2)
    same(lambda t, p, q: t.linalg.lu_solve(*t.linalg.lu_factor(p), q), a, wide)
    # (PyTorch reads past the pivots of a batch that has to be broadcast.)
    several = ng.tensor(a + np.swapaxes(a, -1, -2))
    x = ng.linalg.ldl_solve(*ng.linalg.ldl_factor(several), ng.tensor(wide))
    np.testing.assert_allclose((several @ x).numpy(), wide, atol=1e-3 if dtype in ("float32", "complex64") else 1e-10)
    same(lambda t, p, q: t.linalg.solve_ex(p, q), a, draw((2, 4), dtype, 3))


# (function of one matrix or more, their shapes): gradients of the first to second order
DIFFERENTIABLE = {
    "lu": (lambda t, a: t.linalg.lu(a)[1:], (3, 3)),
    "lu wide": (lambda t, a: t.linalg.lu(a)[1:], (2, 2, 4)),
    "lu tall": (lambda t, a: t.linalg.lu(a)[1:], (4, 2)),
    "lu_factor": (lambda t, a: t.linalg.lu_factor(a)[0], (2, 3, 3)),
    "lu_factor wide": (lambda t, a: t.linalg.lu_factor(a)[0], (2, 4)),
    "lu_factor tall": (lambda t, a: t.linalg.lu_factor_ex(a)[0], (4, 2)),
    "lu_unpack": (lambda t, a: t.lu_unpack(*t.linalg.lu_factor(a))[1:], (3, 3)),
    "lu_solve": (lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b), (3, 3), (2, 3, 2)),
    "lu_solve right": (lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b, left=False), (2, 3, 3), (2, 2, 3)),
    "lu_solve adjoint": (lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b, adjoint=True), (2, 3, 3), (3, 2)),
    "both": (lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b, adjoint=True, left=False), (3, 3), (2, 3)),
    "inv_ex": (lambda t, a: t.linalg.inv_ex(a)[0], (2, 3, 3)),
    "solve_ex": (lambda t, a, b: t.linalg.solve_ex(a, b)[0], (3, 3), (2, 3, 2)),
    "solve_ex vector": (lambda t, a, b: t.linalg.solve_ex(a, b)[0], (3, 3), (3,)),
    "cholesky_ex": (lambda t, a: t.linalg.cholesky_ex(a @ a.mH)[0], (3, 3)),
    "triangular_solve": (lambda t, b, a: t.triangular_solve(b, a)[0], (3, 2), (3, 3)),
    "transposed": (lambda t, b, a: t.triangular_solve(b, a, False, True, True)[0], (3, 2), (2, 3, 3))}


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name, dtype):
    call, *shapes = DIFFERENTIABLE[name]
    arrays = [draw(s, dtype, i) + (2 * np.eye(*s[-2:]) if len(s) > 1 else 0) for i, s in enumerate(shapes)]
    found = []
    for t in (ng, torch):
        leaves = [t.tensor(a).requires_grad_() for a in arrays]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ys = flat(call(t, *leaves))
        total = sum((y * t.tensor(draw(tuple(y.shape), dtype, 7))).sum() for y in ys)
        first = t.autograd.grad(total.real, leaves, create_graph=True)
        again = sum((g * t.tensor(draw(tuple(g.shape), dtype, 8))).sum() for g in first)
        found.append([[type(y.grad_fn).__name__ for y in ys], first, t.autograd.grad(again.real, leaves, allow_unused=True)])
    assert found[0][0] == found[1][0]
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x.detach().numpy(), y.detach().resolve_conj().numpy(), rtol=1e-9, atol=1e-10)
    if dtype == "float64":
        assert ng.autograd.gradgradcheck(lambda *xs: flat(call(ng, *xs)), [ng.tensor(a).requires_grad_() for a in arrays])


def said(library, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = repr(call(library))
        except RuntimeError as e:
            text = f"{type(e).__name__.strip('_')}: {e}"
    return text, [str(w.message).partition(" (Triggered")[0] for w in caught]


def i32(t, *values):
    return t.tensor(values).int()


WORDS = {
    "singular": lambda t: t.linalg.lu_factor(t.ones(2, 2)), "told": lambda t: t.linalg.lu_factor_ex(t.ones(2, 2)),
    "checked": lambda t: t.linalg.lu_factor_ex(t.ones(2, 2, 2), check_errors=True),
    "no pivots": lambda t: t.linalg.lu(t.ones(2, 2), pivot=False), "int": lambda t: t.linalg.lu_factor(t.ones(2, 2).int()),
    "vector": lambda t: t.linalg.lu(t.ones(3)), "half": lambda t: t.linalg.lu_factor(t.ones(2, 2).half()),
    "inv_ex": lambda t: t.linalg.inv_ex(t.ones(2, 2))[1],
    "inv_ex checked": lambda t: t.linalg.inv_ex(t.ones(2, 2), check_errors=True),
    "inv_ex oblong": lambda t: t.linalg.inv_ex(t.ones(2, 3)), "indefinite": lambda t: t.linalg.cholesky_ex(-t.eye(2))[1],
    "solve_ex": lambda t: t.linalg.solve_ex(t.ones(2, 2, 2), t.ones(2, 2, 2), check_errors=True),
    "indefinite checked": lambda t: t.linalg.cholesky_ex(-t.eye(2), check_errors=True),
    "solve_ex shapes": lambda t: t.linalg.solve_ex(t.ones(2, 2), t.ones(3)),
    "unpack a vector": lambda t: t.lu_unpack(t.ones(3), t.ones(3)), "unpack floats": lambda t: t.lu_unpack(t.eye(3), t.ones(3)),
    "unpack other pivots": lambda t: t.lu_unpack(t.eye(3), i32(t, 1, 2, 4)),
    "unpack 0": lambda t: t.lu_unpack(t.eye(2), i32(t, 0, 1)),
    "solve shapes": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2, 3), t.ones(2, 2)),
    "solve floats": lambda t: t.linalg.lu_solve(t.eye(3), t.ones(3), t.ones(3, 2)),
    "solve dtypes": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2, 3), t.ones(3, 2).double()),
    "solve oblong": lambda t: t.linalg.lu_solve(t.ones(3, 2), i32(t, 1, 2, 3), t.ones(3, 2)),
    "solve few pivots": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2), t.ones(3, 2)),
    "solve batches": lambda t: t.linalg.lu_solve(t.ones(2, 3, 3), i32(t, 1, 2, 3), t.ones(3, 2)),
    "solve a vector": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2, 3), t.ones(3)),
    "solve low": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2, 0), t.eye(3)),
    "solve high": lambda t: t.linalg.lu_solve(t.eye(3), i32(t, 1, 2, 4), t.eye(3)),
    "ldl oblong": lambda t: t.linalg.ldl_factor(t.ones(3, 2)), "ldl told": lambda t: t.linalg.ldl_factor_ex(t.zeros(2, 2)),
    "ldl shapes": lambda t: t.linalg.ldl_solve(t.eye(3), i32(t, 1, 2, 3), t.ones(2, 2)),
    "ldl floats": lambda t: t.linalg.ldl_solve(t.eye(3), t.ones(3), t.ones(3, 2)),
    "ldl dtypes": lambda t: t.linalg.ldl_solve(t.eye(3), i32(t, 1, 2, 3), t.ones(3, 2).double()),
    "ldl few pivots": lambda t: t.linalg.ldl_solve(t.eye(3), i32(t, 1, 2), t.ones(3, 2)),
    "ldl graph": lambda t: t.linalg.ldl_factor_ex(t.eye(2).requires_grad_())[0].sum().backward(),
    "ldl_solve graph": lambda t: t.linalg.ldl_solve(t.eye(2), i32(t, 1, 2), t.eye(2).requires_grad_()).sum().backward(),
    "triangular dtypes": lambda t: t.triangular_solve(t.eye(2).double(), t.eye(2)),
    "triangular int": lambda t: t.triangular_solve(t.eye(2).int(), t.eye(2).int()),
    "triangular shapes": lambda t: t.triangular_solve(t.ones(2, 2), t.eye(3)),
    "triangular oblong": lambda t: t.triangular_solve(t.ones(3, 2), t.ones(3, 2)),
    "triangular vector": lambda t: t.triangular_solve(t.ones(3), t.eye(3)),
    **{name: lambda t, name=name: getattr(t, name)(t.eye(2), t.eye(2)) for name in "solve lstsq".split()},
    "symeig": lambda t: t.symeig(t.eye(2), True), "eig": lambda t: t.eye(2).eig(eigenvectors=True),
    "matrix_rank": lambda t: t.matrix_rank(t.eye(2)),
    **{"of " + name: lambda t, name=name: getattr(t.eye(2), name)(t.eye(2)) for name in "solve lstsq".split()}}


@pytest.mark.parametrize("name", WORDS)
def test_words(name):
    said(torch, WORDS[name])  # which warns once in a process
    user_code._said.update((former.LU, former.LU_SOLVE, former.TRIANGULAR))
    assert said(ng, WORDS[name]) == said(torch, WORDS[name])


@pytest.mark.parametrize("name, call", [
    ("lu", lambda t: t.lu(t.eye(2))), ("lu_solve", lambda t: t.lu_solve(t.eye(2), t.eye(2), i32(t, 1, 2))),
    ("triangular_solve", lambda t: t.eye(2).triangular_solve(t.eye(2)))])
def test_former_names_say_so(name, call, monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    text, (warning,) = said(ng, call)
    assert warning.startswith(f"torch.{name} is deprecated in favor of torch.linalg.")
    assert (text, []) == said(ng, call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert text == repr(call(torch))


def test_bad_pivots_reach_no_memory():
    """Kernels are told of them before an address is taken by one."""
    for pivots in (i32(ng, 1, 2, 5), i32(ng, -1, 2, 3), i32(ng, 1, 2, -3), i32(ng, 0, 2, 3)):
        with pytest.raises(RuntimeError, match="pivots must be those that ldl_factor gives"):
            ng.linalg.ldl_solve(ng.eye(3), pivots, ng.eye(3))
    with pytest.raises(RuntimeError, match=r"Expected LU_pivots of shape \[2, 3\]"):
        ng.lu_unpack(ng.ones(2, 3, 3), i32(ng, 1, 2, 3))


def test_compiled_steps_tell_too():
    step = ng.compile(lambda x: ng.linalg.lu_factor(x)[0] + ng.linalg.inv_ex(x, check_errors=True)[0])
    good = ng.tensor([[2.0, 1.0], [1.0, 3.0]])
    for _ in range(3):
        np.testing.assert_allclose(step(good).numpy(), (ng.linalg.lu_factor(good)[0] + ng.linalg.inv(good)).numpy())
    with pytest.raises(RuntimeError, match="is zero"):
        step(ng.ones(2, 2))
    np.testing.assert_allclose(step(good).numpy(), (ng.linalg.lu_factor(good)[0] + ng.linalg.inv(good)).numpy())


def test_out():
    for name in ("lu", "lu_factor", "inv_ex", "cholesky_ex"):
        a = np.array([[4.0, 1.0], [1.0, 3.0]])
        kept = []
        for t in (ng, torch):
            call = getattr(t.linalg, name)
            out = tuple(t.empty(0, dtype=x.dtype) for x in call(t.tensor(a)))
            call(t.tensor(a), out=out)
            kept.append([x.numpy() for x in out])
        for x, y in zip(*kept, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_systems_that_are_eliminated_in_blocks(dtype):
    n = 600
    a, b = draw((n, n), dtype) + 0.5 * n ** 0.5 * np.eye(n, dtype=dtype), draw((n, 2), dtype)
    tolerance = 2e-3 if dtype == "float32" else 1e-10
    for threads in (1, 3):
        kept = ng.get_num_threads()
        ng.set_num_threads(threads)
        try:
            found = ng.linalg.solve(ng.tensor(np.stack([a, a[::-1].copy()])), ng.tensor(np.stack([b, b[::-1].copy()]))).numpy()
        finally:
            ng.set_num_threads(kept)
        np.testing.assert_allclose(found[0], np.linalg.solve(a, b), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found[1], found[0], rtol=tolerance, atol=tolerance)
    a[:, 555] = 0
    with pytest.raises(ng.linalg.LinAlgError, match="singular"):
        ng.linalg.solve(ng.tensor(a), ng.tensor(b))
