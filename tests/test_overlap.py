"""In-place operations and ``out=`` whose target shares memory with itself or with an input: PyTorch's errors."""

import pytest
from snippets import said

import numbagrad as ng

SNIPPETS = """
y = torch.arange(4.); y[1:] = y[:-1]
y = torch.arange(4.); y[:-1] = y[1:]
y = torch.arange(4.); y[1:].copy_(y[:-1])
y = torch.arange(4.); y[1:].add_(y[:-1])
y = torch.arange(4.); y[1:] += y[:-1]
y = torch.arange(4.); y.add_(y); y
y = torch.arange(4.); y[1:3].add_(y[1:3]); y
y = torch.arange(4.); y[:2].add_(y[2:]); y
y = torch.arange(9.).view(3, 3); y.add_(y.t())
y = torch.arange(9.).view(3, 3); y.copy_(y.t())
y = torch.arange(9.).view(3, 3); y[:] = y.t()
y = torch.arange(4.); y.sub_(y[0])
y = torch.arange(4.); y.addcmul_(y, y); y
y = torch.arange(4.); y[1:].addcmul_(y[:-1], y[:-1])
y = torch.arange(4.); y[1:].lerp_(y[:-1], 0.5)
y = torch.arange(4.); y[1:].clamp_(min=y[:-1])
y = torch.arange(4.); y[1:].add_(y[:-1].clone()); y
y = torch.arange(6.); y[::2].add_(y[1::2]); y
y = torch.arange(4.); torch.add(y[:-1], 1, out=y[1:])
y = torch.arange(4.); torch.add(y[:-1], y[1:], out=y[1:])
y = torch.arange(4.); torch.exp(y, out=y); y
y = torch.arange(4.); torch.exp(y[:-1], out=y[1:])
y = torch.arange(4.); torch.clamp(y[1:], 0, 1, out=y[:-1])
y = torch.arange(4.); torch.max(y[1:], y[:-1], out=y[:-1])
y = torch.arange(4.); y[torch.tensor([0, 1])] = y[1:3]
y = torch.arange(4); y[y] = 1
y = torch.arange(4.); y.index_put_((torch.tensor([0, 1]),), y[1:3], accumulate=True)
y = torch.arange(4.); y.put_(torch.tensor([0]), y[:1])
m = torch.tensor([True, False, True, False]); m[1:].masked_fill_(m[:-1], False)
y = torch.arange(4); y.scatter_(0, y, y)
y = torch.arange(4); y.scatter_(0, torch.tensor([0, 1, 2]), y[1:])
y = torch.arange(4.); y.scatter_add_(0, torch.tensor([0, 1, 2]), y[1:])
y = torch.arange(4.); y.scatter_reduce_(0, torch.tensor([0, 1, 2]), y[1:], 'sum')
y = torch.arange(4.); y.index_add_(0, torch.tensor([0, 1, 2]), y[1:])
y = torch.arange(4.); y.index_copy_(0, torch.tensor([0, 1, 2]), y[1:])
y = torch.arange(4.); y.index_fill_(0, torch.tensor([0]), y[1]); y
y = torch.ones(1).expand(3); y.add_(1)
y = torch.ones(1).expand(3); y.exp_()
y = torch.ones(1).expand(3); y.copy_(torch.arange(3.))
y = torch.ones(1).expand(3); y[:] = torch.arange(3.)
y = torch.ones(1).expand(3); y.uniform_()
y = torch.ones(1).expand(3); y.scatter_(0, torch.tensor([0]), 1.)
y = torch.ones(1).expand(3); torch.exp(torch.ones(3), out=y)
y = torch.ones(1).expand(3); F.dropout(y, inplace=True)
y = torch.ones(1).expand(3); y.zero_(); y
y = torch.ones(1).expand(3); y.fill_(2.); y
y = torch.ones(1).expand(3); y[0] = 5; y
y = torch.ones(1, 2).expand(3, 2); y[torch.tensor([0, 1])] = 1.; y
y = torch.ones(1).expand(3); y.masked_fill_(torch.tensor([True, False, False]), 2.); y
y = torch.ones(1).expand(3); y.index_fill_(0, torch.tensor([0]), 1.); y
y = torch.ones(2, 2).expand(3, 2, 2); y.transpose_(0, 1); y
y = torch.arange(4., requires_grad=True); y.expand(2, 4).add_(1)
y = torch.arange(4., requires_grad=True).clone(); y[1:].add_(y[:-1])
""".strip().splitlines()


@pytest.mark.parametrize("text", SNIPPETS)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert said(ng, text) == said(torch, text)


@pytest.mark.parametrize("text", [t for t in SNIPPETS if "expand" not in t and t.startswith("y = torch.arange(4")])
def test_a_refused_write_changes_nothing(text):
    names = {"torch": ng}
    try:
        exec(text, names)
    except RuntimeError as e:
        assert str(e).startswith("unsupported operation")
        assert names["y"].tolist() == [0, 1, 2, 3] and names["y"]._version == 0


def test_targets_with_gaps():
    """PyTorch lets these through and reads what it has already written; here the operand is copied first."""
    y = ng.arange(6.0)
    y[::2].add_(y[:3])
    assert y.tolist() == [0, 1, 3, 3, 6, 5]
    y = ng.arange(9.0).view(3, 3)
    y[1:, :2] = y[:-1, :2]
    assert y.tolist() == [[0, 1, 2], [0, 1, 5], [3, 4, 8]]
