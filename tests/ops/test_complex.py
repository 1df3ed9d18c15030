"""Complex tensors: truth, comparisons, conversions and gradients as in PyTorch."""

import pytest
from snippets import said

import numbagrad as ng
from numbagrad.base import user_code

SNIPPETS = """
x = torch.tensor([3+4j, 0j, 1-1j], requires_grad=True); y = x.abs(); y; y.sum().backward(); x.grad
x = torch.tensor([3+4j, 0j, 1-1j]); x.any(); x.all(); torch.count_nonzero(x); x.nonzero()
x = torch.tensor([3j, 0j, 1-1j]); x != 0; x == 0; x != x; x == 3j; torch.eq(x, torch.tensor([3j, 1, 1-1j]))
x = torch.tensor([3j, 0j, 0j]); torch.any(x[1:]); x[1:].all(); x.any(0); x.all(dim=0, keepdim=True)
x = torch.tensor([[3j, 0j], [0j, 0j]]); x.any(1); x.all(1); x.t().any(0); torch.count_nonzero(x, dim=0)
x = torch.tensor([[3j, 0j], [0j, 0j]]); torch.nonzero(x, as_tuple=True); x[x != 0]
x = torch.tensor([1j, 0j]); x.bool(); x.to(torch.bool); torch.zeros(2, dtype=torch.bool).copy_(x)
x = torch.tensor([1j, 0j]); torch.logical_not(x); torch.logical_and(x, x); torch.logical_xor(x, x)
x = torch.tensor([1j, 2+0j, 0j, -1j, -2+0j]); x.angle(); torch.angle(x); torch.angle(x.real)
x = torch.tensor([1j, 2+0j], requires_grad=True); y = x.angle(); y; y.sum().backward(); x.grad
x = torch.tensor([-1., 2.], requires_grad=True); y = x.angle(); y; y.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); (x**2).imag.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); (1/x).imag.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); x.reciprocal().real.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); x.sqrt().imag.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); x.square().abs().sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); x.sin().real.sum().backward(); x.grad
x = torch.tensor([1j, 2+1j], requires_grad=True); x.tanh().real.sum().backward(); x.grad
x = torch.tensor([1., 2.], requires_grad=True); y = torch.complex(x, x * 2); y; y.abs().sum().backward(); x.grad
x = torch.tensor([1., 2.], requires_grad=True); y = torch.polar(x, x * 2); y; y.real.sum().backward(); x.grad
torch.complex(torch.ones(2), torch.ones(2, dtype=torch.float64))
torch.complex(torch.ones(2, dtype=torch.int64), torch.ones(2))
torch.polar(torch.ones(2, 1), torch.arange(3.))
torch.polar(torch.arange(3.), torch.arange(6.).reshape(2, 3)); torch.polar(torch.ones(3, 2).t(), torch.arange(6.).reshape(2, 3))
float(torch.tensor(1+2j))
int(torch.tensor(1+2j))
float(torch.tensor(1+0j)); int(torch.tensor(3+0j)); complex(torch.tensor(1+2j))
torch.tensor([1j, 2]).abs_()
torch.tensor([1j, 2]).sort()
torch.tensor([1j, 2]).unique()
""".strip().splitlines()


@pytest.mark.parametrize("text", SNIPPETS)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert said(ng, text) == said(torch, text)


def test_discarded_imaginary_part(monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    with pytest.warns(UserWarning, match="Casting complex values to real discards the imaginary part"):
        assert ng.tensor([1 + 2j]).float().tolist() == [1.0]
    assert ng.tensor([1 + 2j]).double().tolist() == [1.0]


@pytest.mark.parametrize("fn", [
    lambda x: x**2, lambda x: 1 / x, lambda x: x.sqrt(), lambda x: x.square(), lambda x: x.angle(), lambda x: x.abs(),
    lambda x: x.tanh(), lambda x: ng.complex(x.real, x.imag * 2), lambda x: x.sigmoid(), lambda x: x.rsqrt()])
def test_gradients(fn):
    x = ng.tensor([1 + 1j, 2 - 0.5j, 0.3 + 2j], dtype=ng.complex128, requires_grad=True)
    assert ng.autograd.gradcheck(fn, (x,))
