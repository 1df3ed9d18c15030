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
y = torch.tensor([[0.], [1.]]).expand(2, 4); y.index_put_((torch.tensor([0]), torch.tensor([1])), torch.tensor(7.)); y
y = torch.tensor([[0.], [1.]]).expand(2, 4); y[torch.tensor([0]), torch.tensor([1])] = 7.; y
y = torch.tensor([[0.], [1.]]).expand(2, 4); y[[0], [1]] += 7.; y
y = torch.tensor([[0.], [1.]]).expand(2, 4); y.masked_fill_(torch.tensor([[True, False, False, True], [False] * 4]), 7.); y
y = torch.tensor([[0.], [1.]]).expand(2, 4); y.index_fill_(1, torch.tensor([2]), 7.); y
y = torch.tensor([[0.], [1.]]).expand(2, 4); y.index_put_((torch.tensor([0, 1]),), torch.ones(2, 4), accumulate=True); y
y = torch.zeros(5); y.as_strided((3, 2), (1, 1))[[0], [1]] = 7.; y
y = torch.zeros(9); y.as_strided((3, 2, 2), (2, 1, 3))[:, [1], [0]] = torch.arange(3.).view(3, 1); y
y = torch.zeros(5); y.as_strided((3, 2), (1, 1)).index_add_(0, torch.tensor([0, 2]), torch.ones(2, 2)); y
y = torch.zeros(5); y.as_strided((3, 2), (1, 1)).scatter_(1, torch.tensor([[1], [0]]), 3.); y
y = torch.zeros(5); y.as_strided((3, 2), (1, 1)).put_(torch.tensor([1, 4]), torch.tensor([3., 4.])); y
y = torch.zeros(24).view(4, 3, 2).permute(2, 0, 1); y[:, [0, 2], [1, 1]] = torch.tensor([5., 6.]); y
y = torch.zeros(24).view(4, 3, 2).permute(1, 0, 2)[::2]; y.index_copy_(1, torch.tensor([3, 1]), torch.ones(2, 2, 2)); y
i = torch.tensor([1, 1]); y = torch.zeros(24).view(4, 3, 2).transpose(0, 2); y.index_put_((i, i), torch.ones(2, 4), True); y
y = torch.arange(1., 5).expand(3, 4).tril_(); y
y = torch.arange(1., 4).view(3, 1).expand(3, 4).triu_(); y
y = torch.arange(1., 7); y.as_strided((3, 4), (1, 1)).tril_(); y
y = torch.zeros(4, 3, dtype=torch.int64).index_add_(0, torch.tensor([0, 1]), torch.full((2, 3), 3), alpha=2.5); y
y = torch.zeros(4, dtype=torch.int8); y.index_add_(0, torch.tensor([0]), torch.ones(1, dtype=torch.int8), alpha=300)
y = torch.arange(6.).view(3, 2); torch.cumsum(y[1:], 0, out=y[:-1])
y = torch.arange(6.).view(3, 2); torch.max(y, 0, out=(y[0], torch.zeros(2, dtype=torch.int64)))
y = torch.arange(4.); torch.sort(y[1:], out=(y[:-1], torch.zeros(3, dtype=torch.int64)))
y = torch.arange(4.); torch.cat([y[:2], y[2:]], out=y)
y = torch.ones(3); torch.add(torch.ones(2), 1, out=y); y
y = torch.ones(3); torch.mm(torch.ones(2, 2), torch.ones(2, 2), out=y); y
y = torch.empty(0); torch.mm(torch.ones(2, 2), torch.ones(2, 2), out=y); y
y = torch.ones(2, dtype=torch.float64); torch.mm(torch.ones(2, 2), torch.ones(2, 2), out=y)
y = torch.ones(2, 2, requires_grad=True); torch.mm(torch.ones(2, 2), torch.ones(2, 2), out=y)
y = torch.zeros(2), torch.zeros(2, dtype=torch.int64); r = torch.kthvalue(torch.arange(6.).view(2, 3), 2, out=y); y
y = torch.zeros(()), torch.zeros(()); r = torch.linalg.slogdet(torch.eye(2) * 2, out=y); y
y = torch.zeros(2, 1); torch.take_along_dim(torch.ones(2, 3), torch.zeros(2, 1, dtype=torch.int64), 1, out=y); y
y = torch.add(torch.ones(2), 1, out=[1])
y = torch.zeros(2, out=[1])
y = torch.ones(4); torch.zeros(2, 3, out=y); y
y = torch.ones(4, dtype=torch.float64); torch.linspace(0, 1, 3, out=y); y
torch.zeros(2, out=torch.ones(2, dtype=torch.float64), dtype=torch.float32)
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


OUTS = {"var": (0,), "std": (0,), "sum": (0,), "logsumexp": (0,), "nanmean": (0,), "mean": (0,), "prod": (0,)}


@pytest.mark.parametrize("name", OUTS)
def test_out_over_the_input_of_a_reduction(name):
    """PyTorch writes here, of some it reads what it has written; nothing is written here."""
    x = ng.arange(6.0).view(3, 2)
    with pytest.raises(RuntimeError, match="single memory location"):
        getattr(ng, name)(x, *OUTS[name], out=x[0])
    assert x.tolist() == [[0, 1], [2, 3], [4, 5]] and x._version == 0


@pytest.mark.parametrize("call", [
    lambda a, out: ng.mm(a, a, out=out), lambda a, out: ng.linalg.solve(a, a, out=out), lambda a, out: ng.inner(a, a, out=out),
    lambda a, out: ng.linalg.multi_dot([a, a], out=out), lambda a, out: ng.linalg.inv(a, out=out),
    lambda a, out: ng.linalg.matrix_power(a, 2, out=out), lambda a, out: ng.kron(a[:1, :1], a, out=out)])
def test_out_that_overlaps_partly(call):
    memory = ng.tensor([2.0, 1, 1, 3, 0, 0])
    before = memory.tolist()
    with pytest.raises(RuntimeError, match="single memory location"):
        call(memory[:4].view(2, 2), memory[1:5].view(2, 2))
    assert memory.tolist() == before


def test_all_outs_are_checked_before_one_is_written():
    values, indices = ng.zeros(2), ng.zeros(2)  # the second has the wrong dtype
    with pytest.raises(RuntimeError, match="dtype"):
        ng.max(ng.ones(3, 2), 0, out=(values, indices))
    with pytest.raises(TypeError, match="expected tuple of 2"):
        ng.sort(ng.ones(3), out=(values,))
    assert values.tolist() == [0, 0] and values._version == 0


@pytest.mark.parametrize("name", "exp_ tril_ cumsum_ cumprod_ clamp_ add_ copy_ masked_scatter_ scatter_reduce_".split())
def test_windows_that_overlap_are_refused(name):
    """What PyTorch computes there depends on how it loops."""
    memory = ng.arange(1.0, 7.0)
    t = memory.as_strided((2, 2, 3), (2, 1, 1))
    zeros = ng.zeros(2, 2, 3, dtype=ng.int64)
    args = {"cumsum_": (0,), "cumprod_": (1,), "clamp_": (0, 2), "add_": (1,), "copy_": (ng.ones(2, 2, 3),),
            "masked_scatter_": (zeros == 0, ng.ones(12)), "scatter_reduce_": (0, zeros, ng.ones(2, 2, 3), "sum")}
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        getattr(t, name)(*args.get(name, ()))
    assert memory.tolist() == [1, 2, 3, 4, 5, 6] and memory._version == 0


def test_mask_on_an_expanded_target():
    y = ng.tensor([[0.0], [1.0]]).expand(2, 4)
    with pytest.warns(UserWarning, match="expanded tensors is deprecated"):
        y[ng.tensor([[True, False, False, False], [False] * 4])] = 7.0
    assert y.tolist() == [[7] * 4, [1] * 4]


def test_strides_that_look_alike_but_do_not_meet():
    memory = ng.arange(6.0)
    memory.as_strided((2, 2), (2, 3)).add_(10)  # places 0, 2, 3, 5
    assert memory.tolist() == [10, 1, 12, 13, 4, 15]


def test_targets_with_gaps():
    """PyTorch lets these through and reads what it has already written; here the operand is copied first."""
    y = ng.arange(6.0)
    y[::2].add_(y[:3])
    assert y.tolist() == [0, 1, 3, 3, 6, 5]
    y = ng.arange(9.0).view(3, 3)
    y[1:, :2] = y[:-1, :2]
    assert y.tolist() == [[0, 1, 2], [0, 1, 5], [3, 4, 8]]
