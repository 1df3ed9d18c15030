"""Sizes, strides and indices that lead outside a tensor's memory are refused before anything is read or written."""

import pytest
from snippets import said

import numbagrad as ng

SNIPPETS = """
torch.as_strided_scatter(torch.ones(()), torch.ones(2, 2), [2, 2], [3, 1], 1)
torch.as_strided_scatter(torch.ones(4), torch.ones(2), (2,), (1,), 3)
torch.as_strided_scatter(torch.ones(4), torch.ones(2), (2,), (1,), -1)
torch.as_strided_scatter(torch.ones(4), torch.ones(2), (2,), (1, 1), 1)
torch.as_strided_scatter(torch.ones(4), torch.ones(2), (2,), (-1,), 1)
torch.as_strided_scatter(torch.ones(4), torch.ones(3), (2,), (1,), 1)
torch.ones(4).as_strided((3,), (2,))
torch.ones(4).as_strided((2,), (1,), 5)
torch.ones(4).as_strided((2,), (1,), -1)
torch.ones(4).as_strided((2,), (-1,), 3)
torch.ones(4).as_strided((-2,), (1,))
torch.ones(4).as_strided((2, -1), (1, 1))
torch.ones(4).as_strided((2, 2), (1,))
torch.ones(4).as_strided((2, 2**62), (1, 4))
torch.ones(4).as_strided((0,), (1,), 9)
torch.arange(4.)[1:].as_strided((4,), (1,))
torch.arange(4.)[1:].as_strided((4,), (1,), 0)
x = torch.ones(4); x.as_strided_((3,), (2,))
x = torch.arange(4.); x.as_strided_((2, 2), (1, 1)); x
x = torch.arange(4.); x.as_strided_((2,), (1,), 2); x
torch.arange(8.).view(torch.int32).as_strided((8,), (2,))
torch.arange(2, dtype=torch.float64).view(torch.int32).as_strided((4,), (1,)).shape
torch.index_select(torch.arange(4), 0, torch.tensor([4]))
torch.index_select(torch.arange(12).view(3, 4), 1, torch.tensor([4]))
torch.zeros(3, 4).index_add_(0, torch.tensor([3]), torch.ones(1, 4))
torch.zeros(4).index_add_(0, torch.tensor([4]), torch.ones(1))
torch.zeros(3, 4).index_copy_(0, torch.tensor([3]), torch.ones(1, 4))
torch.zeros(3, 4).index_fill_(0, torch.tensor([-4]), 1.)
torch.zeros(3, 4).gather(1, torch.tensor([[-1]]))
torch.zeros(3, 4).scatter_(1, torch.tensor([[4]]), torch.ones(1, 1))
torch.zeros(3, 4).scatter_reduce_(1, torch.tensor([[1]]), torch.ones(1, 1), 'foo')
torch.zeros(3, 4).take(torch.tensor([-13]))
torch.zeros(3, 4).put_(torch.tensor([12]), torch.ones(1))
torch.take_along_dim(torch.arange(12).view(3, 4), torch.tensor([[4], [9], [-5]]), 1)
torch.take_along_dim(torch.arange(12).view(3, 4), torch.tensor([13]))
torch.zeros(3).index_put_((torch.tensor([-4]),), torch.tensor(1.), accumulate=True)
F.embedding(torch.tensor([-1]), torch.zeros(3, 2))
F.embedding_bag(torch.tensor([1, 5]), torch.zeros(3, 2), torch.tensor([0]))
F.embedding_bag(torch.tensor([1, -2]), torch.zeros(3, 2), torch.tensor([0]), mode='max')
F.embedding_bag(torch.tensor([1, 2]), torch.zeros(3, 2), torch.tensor([0, 5]))
F.embedding_bag(torch.tensor([1, 2]), torch.zeros(3, 2), torch.tensor([0, -1]))
F.embedding_bag(torch.tensor([1, 2]), torch.zeros(3, 2), torch.tensor([0, 1, 5]), include_last_offset=True)
F.embedding_bag(torch.tensor([1, 2]), torch.zeros(3, 2), torch.tensor([0., 1.]))
F.embedding_bag(torch.tensor([1]), torch.zeros(3, 2), torch.tensor([], dtype=torch.long))
F.nll_loss(torch.zeros(2, 3), torch.tensor([0, 3]))
F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, -1]))
F.cross_entropy(torch.zeros(2, 3, 2), torch.tensor([[0, 3], [0, 0]]))
F.multi_margin_loss(torch.zeros(2, 3), torch.tensor([0, 3]))
F.one_hot(torch.tensor([0, 3]), 3)
F.one_hot(torch.tensor([0, -3]), 3)
torch.bincount(torch.tensor([0, -1]))
torch.repeat_interleave(torch.arange(3), torch.tensor([1, -1, 2]))
torch.repeat_interleave(torch.arange(3), torch.tensor([1, 2, 1]), output_size=3)
torch.repeat_interleave(torch.arange(3), 2, output_size=5)
torch.repeat_interleave(torch.tensor([1, 2, 1]), output_size=5)
torch.searchsorted(torch.arange(3.), torch.tensor([1.]), sorter=torch.tensor([0, 1, 5]))
torch.searchsorted(torch.arange(3.), torch.tensor([1.]), sorter=torch.tensor([0, 1]))
torch.searchsorted(torch.arange(3.), torch.tensor([1.]), sorter=torch.tensor([0, 1, 2], dtype=torch.int32))
torch.arange(4.).unfold(0, 5, 1)
torch.select_scatter(torch.arange(4.), torch.tensor(1.), 0, 4)
torch.empty(2**61)
torch.zeros(2**40, 2**40)
torch.ones(4).expand(2**62, 4)
torch.ones(4).expand(2**40, 4).shape
""".strip().splitlines()


@pytest.mark.parametrize("text", SNIPPETS)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert said(ng, text) == said(torch, text)


def test_offsets_that_pytorch_does_not_check():
    weight, index = ng.zeros(3, 2), ng.tensor([1, 2, 0])
    with pytest.raises(RuntimeError, match="offsets have to ascend"):
        ng.nn.functional.embedding_bag(index, weight, ng.tensor([0, 2, 1]))
    with pytest.raises(RuntimeError, match="the last offset has to be the number of indices, 3, but got 2"):
        ng.nn.functional.embedding_bag(index, weight, ng.tensor([0, 1, 2]), include_last_offset=True)


def test_memory_that_cannot_be_had():
    for make in (ng.empty, ng.zeros, ng.ones):
        with pytest.raises(RuntimeError, match="can't allocate memory: you tried to allocate 1125899906842624 bytes"):
            make(2**48)


F = ng.nn.functional
# (what backward saves an index tensor of, that tensor): its memory is then changed behind autograd's back.
SAVED = {
    "embedding": lambda w, i: (F.embedding(i, w), i),
    "embedding_bag": lambda w, i: (F.embedding_bag(i, w, ng.tensor([0]), mode="sum"), i),
    "nll_loss": lambda w, i: (F.nll_loss(w, i), i),
    "cross_entropy": lambda w, i: (F.cross_entropy(w, i), i),
    "max": lambda w, i: w.max(1),
    "median": lambda w, i: w.median(1),
    "mode": lambda w, i: w.mode(1),
    "cummax": lambda w, i: w.cummax(1),
    "max_pool": lambda w, i: F.max_pool2d(w.view(1, 1, 2, 4), 2, return_indices=True),
}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("wrong", [10**9, -10**9])
def test_saved_indices_are_checked_again(name, wrong):
    w = ng.arange(8.0).view(2, 4).clone().requires_grad_()
    y, index = SAVED[name](w, ng.tensor([0, 1]))
    index.data.fill_(wrong)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
        y.sum().backward()
    assert w.grad is None
