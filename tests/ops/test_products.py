"""Products composed of others, and those of batches and vectors that are one call, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng

TIMES = 10  # the last of them by a plan


@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
def test_steps_that_are_kept_belong_to_shapes_and_arguments(torch):
    """einsum, tensordot and chains repeat what was found for the same shapes, whatever the dtypes and layouts."""
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for _ in range(2):
        for dtype in ("float32", "float64", "int64", "complex64"):
            pairs = [(lib.tensor(a).to(getattr(lib, dtype)), lib.tensor(b).to(getattr(lib, dtype))) for lib in (ng, torch)]
            for call in (lambda lib, x, y: lib.einsum("ij,jk->ik", x, y), lambda lib, x, y: lib.einsum("ij,jk->ki", [x, y]),
                         lambda lib, x, y: lib.einsum("ij,kl->ijkl", x, y), lambda lib, x, y: lib.einsum("ij->j", x),
                         lambda lib, x, y: lib.tensordot(x, y, 1), lambda lib, x, y: lib.tensordot(x, y, ((1,), (0,))),
                         lambda lib, x, y: lib.tensordot(x, y, ([-1], [0])), lambda lib, x, y: lib.tensordot(x, y, 0),
                         lambda lib, x, y: lib.linalg.multi_dot([x, y, y.t()]), lambda lib, x, y: lib.chain_matmul(x, y),
                         lambda lib, x, y: lib.einsum("ij,jk", x.t().contiguous().t(), y)):
                ours, theirs = call(ng, *pairs[0]), call(torch, *pairs[1])
                assert str(ours.dtype) == str(theirs.dtype)
                np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    with pytest.raises(TypeError):
        ng.tensordot(ng.tensor(a), ng.tensor(b), ((True,), (0,)))
    for call in (lambda lib: lib.chain_matmul(lib.ones(3)), lambda lib: lib.chain_matmul(),
                 lambda lib: lib.einsum("ij,jk->ik", lib.ones(2, 3), lib.ones(2, 3)),
                 lambda lib: lib.linalg.multi_dot([lib.ones(2, 3), lib.ones(2, 3)])):
        for _ in range(2):
            for lib in (ng, torch):
                with pytest.raises(RuntimeError):
                    call(lib)


def test_batches_and_vectors_in_one_call(torch):
    """kron, outer, addbmm, vander and products of turned batches, with their gradients."""
    rng = np.random.default_rng(3)
    m, n, p, q = [rng.standard_normal(s) for s in ((3, 2, 4), (3, 5, 4), (2, 5), (4,))]
    calls = {
        "kron": lambda lib, m, n, p, q: lib.kron(m[0], p), "kron1": lambda lib, m, n, p, q: lib.kron(q, p[0]),
        "outer": lambda lib, m, n, p, q: lib.outer(q, p[0]), "vander": lambda lib, m, n, p, q: lib.vander(q, 5),
        "bmm": lambda lib, m, n, p, q: lib.bmm(m, n.transpose(1, 2)), "turned": lambda lib, m, n, p, q: lib.bmm(n, m.mT),
        "both": lambda lib, m, n, p, q: m.transpose(1, 2).bmm(lib.ones_like(n).bmm(n.mT)[:, :2]),
        "addbmm": lambda lib, m, n, p, q: lib.addbmm(p, m, n.transpose(1, 2), beta=0.5, alpha=2.0),
        "baddbmm": lambda lib, m, n, p, q: lib.baddbmm(p, m, n.mT),
        "addr": lambda lib, m, n, p, q: lib.addr(p[:, :1], p[:, 0], q),
        "cosine": lambda lib, m, n, p, q: lib.cosine_similarity(m, n[:, :2], dim=2, eps=1.5)}
    for name, call in calls.items():
        if name == "vander":  # PyTorch's cannot be differentiated
            reference = lambda lib, m, n, p, q: lib.stack([q ** k for k in range(4, -1, -1)], 1)  # noqa: E731
        else:
            reference = call
        found = []
        for lib, f in ((ng, call), (torch, reference)):
            given = [lib.tensor(x, requires_grad=True) for x in (m, n, p, q)]
            for _ in range(TIMES if lib is ng else 1):
                for t in given:
                    t.grad = None
                y = f(lib, *given)
                (y * y).sum().backward()
            found.append([y.detach().numpy(), *[None if t.grad is None else t.grad.numpy() for t in given]])
        for x, y in zip(*found, strict=True):
            assert (x is None) == (y is None), name
            if x is not None:
                np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12, err_msg=name)


CHAINS = ("ab,bc,cd->ad", "ab,bc,cd,de->ae", "ab,bc,cd,de,ef,fg->ag", "a,b,c->abc", "ab,ab,ab->a", "ab,bc,ca->",
          "abc,bcd,cde->ae", "ab,cd,ef->", "a,a,a,a,a,a,a,a->a", "ab,bc,cd,de,ef,fg,ga,ab->", "...a,...ab,b->...",
          "ab,b,c,cd->ad")


@pytest.mark.parametrize("equation", CHAINS)
def test_einsum_of_many(equation):
    """Whatever the order of contraction, values are NumPy's, and gradients those of the operands taken left to right."""
    rng, size = np.random.default_rng(0), {".": 2, "a": 2, "b": 3, "c": 4, "d": 5, "e": 3, "f": 2, "g": 4}
    left, right = equation.split("->")
    arrays = [rng.standard_normal([size[x] for x in term.replace("...", ".")]) for term in left.split(",")]
    tensors = [ng.tensor(a, requires_grad=True) for a in arrays]
    y = ng.einsum(equation, *tensors)
    np.testing.assert_allclose(y.detach().numpy(), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12)
    if "." in equation:
        return
    g = rng.standard_normal(y.shape)
    for i, (d, own) in enumerate(zip(ng.autograd.grad(y, tensors, ng.tensor(g)), left.split(","))):
        others = [right, *(t for k, t in enumerate(left.split(",")) if k != i)]
        missing = [x for x in own if not any(x in t for t in others)]  # summed by themselves: their gradients are all equal
        ones = [np.ones(size[x]) for x in missing]
        wanted = np.einsum(",".join([*others, *missing]) + "->" + own, g, *[a for k, a in enumerate(arrays) if k != i], *ones)
        np.testing.assert_allclose(d.numpy(), wanted, rtol=1e-11, atol=1e-11)


def test_einsum_contracts_in_the_cheapest_order():
    """Of (1000, 2), (2, 1000), (1000, 2) the last two come first: no matrix of a million numbers is made."""
    from numbagrad.ops.product.einsum import _path
    a, b, c = ng.ones(1000, 2), ng.ones(2, 1000), ng.ones(1000, 2)
    assert list(_path([(a, "ij"), (b, "jk"), (c, "kl")], "il")) == [(1, 2), (0, 1)]
    y = ng.einsum("ij,jk,kl->il", a, b, c)
    assert y.shape == (1000, 2) and y[0, 0].item() == 2000
