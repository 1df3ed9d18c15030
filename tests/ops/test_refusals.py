"""What PyTorch refuses although the dtypes would allow it, and its words: bools, zeros, operands, freed graphs, arguments."""

import pytest
from snippets import said

import numbagrad as ng

SNIPPETS = """
torch.ones(2)-torch.ones(2).bool()
torch.ones(2).bool()-torch.ones(2)
1-torch.ones(2).bool()
torch.ones(2).bool()-1
torch.ones(2)-True
torch.ones(2).bool()-torch.ones(2).bool()
x = torch.ones(2); x-=torch.ones(2).bool()
-torch.ones(2).bool()
torch.arange(3)//0
torch.arange(3)//torch.tensor([1, 0, 1])
torch.arange(3)%torch.tensor([1, 0, 1])
torch.arange(3).fmod(0)
torch.div(torch.arange(3), 0, rounding_mode='trunc')
torch.div(torch.arange(3), 0, rounding_mode='floor')
x = torch.arange(3); x//=0
x = torch.arange(3); x%=0
5//torch.arange(3)
torch.arange(3.)//0, torch.arange(3.)%0
torch.arange(4)//2, torch.arange(4)%torch.tensor(3), torch.arange(-4, 4).fmod(3)
torch.arange(3)**-1
x = torch.arange(3); x**=-2
torch.arange(3)**-1., torch.arange(1, 3)**torch.tensor(-1), 2**torch.arange(3)
~torch.ones(2)
~torch.tensor([True]), ~torch.arange(2)
torch.ones(2)+'a'
torch.ones(2)*None
torch.ones(2)<'a'
torch.ones(2)=='a'
'a'*torch.ones(2)
[1]+torch.ones(2)
(1, )*torch.ones(2)
torch.ones(2)@[1, 2]
x = torch.ones(3, requires_grad=True); y = (x*2).sum(); y.backward(); y.backward()
x = torch.ones(3, requires_grad=True); y = (x/2).sum(); y.backward(); y.backward()
x = torch.ones(3, requires_grad=True); y = (x+2).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = (2-x).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = (-x).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = (x*2).sum(); y.backward(retain_graph=True); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.mean(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = (x[:2]).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.view(3, 1).expand(3, 2).t().clone().sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.relu().sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = torch.cat([x, x]).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = torch.where(x>0, x, 0).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.clamp(0).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.abs().sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.double().sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.masked_fill(x>5, 0.).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(3, requires_grad=True); y = x.max(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = F.linear(x, x, x[0]).sum(); y.backward(); y.backward()
x = torch.ones(2, 2, requires_grad=True); y = F.mse_loss(x, torch.zeros(2, 2)); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = x.softmax(1).sum(); y.backward(); y.backward()
x = torch.ones(2, 2, requires_grad=True); y = x.cumsum(1).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = F.dropout(x, 0.5).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = F.pad(x, (1, 1)).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = x.triu().sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = (x*True).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = x.mul_(1) if 0 else (x.clone().mul_(2)).sum(); y.backward(); y.backward(); x.grad
x = torch.ones(2, 2, requires_grad=True); y = (2/x).sum(); y.backward(); y.backward(); x.grad
x = torch.randn(3, dtype=torch.double, requires_grad=True); torch.autograd.gradgradcheck(torch.exp, x); print(torch.rand(2))
float(torch.ones(3))
int(torch.ones(0))
torch.set_grad_enabled(True)
torch.ones(2).to('x')
torch.tensor(['a'])
torch.tensor([1, 'a'])
torch.utils.data.default_collate([1, 'a'])
torch.tensor('a')
torch.zeros('a')
torch.zeros(2, dtype='float')
torch.ones(2, dtype=3)
torch.ones(3).type('torch.FooTensor')
x = torch.ones(3, requires_grad=True); y = x[torch.tensor([0])].sum(); y.backward(); y.backward()
x = torch.ones(3, requires_grad=True); y = x.gather(0, torch.tensor([0])).sum(); y.backward(); y.backward()
x = torch.ones(3, requires_grad=True); y = x.index_select(0, torch.tensor([0])).sum(); y.backward(); y.backward()
F.pad(torch.ones(1, 2, 4, 4), (1, 1), mode="reflect")
torch.can_cast(torch.float, torch.int); torch.can_cast(torch.int, torch.float)
x = torch.ones(2).double().requires_grad_(); torch.autograd.gradgradcheck(torch.exp, x); torch.rand(2)
type(nn.Linear(2, 2)(torch.ones(1, 2, requires_grad=True).exp()).grad_fn.next_functions[0][0]).__name__
""".strip().splitlines()

# Dtypes that do not go together.
DTYPES = """
F.linear(torch.ones(2, 2).double(), torch.ones(2, 2))
F.linear(torch.ones(2, 2).double(), torch.ones(2, 2), torch.ones(2))
F.linear(torch.ones(2, 2).double(), torch.ones(2, 2), torch.ones(2).double())
F.linear(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2).double())
torch.addmm(torch.ones(2).double(), torch.ones(2, 2), torch.ones(2, 2))
F.conv2d(torch.ones(1, 1, 2, 2).double(), torch.ones(1, 1, 1, 1))
F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1).double())
F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), torch.ones(1).double())
F.conv2d(torch.ones(1, 1, 2, 2).half(), torch.ones(1, 1, 1, 1))
F.conv2d(torch.ones(1, 1, 2, 2).int(), torch.ones(1, 1, 1, 1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.uint8), torch.ones(1, 1, 1, 1))
F.conv_transpose2d(torch.ones(1, 1, 2, 2).double(), torch.ones(1, 1, 1, 1))
F.layer_norm(torch.ones(2).double(), (2, ), torch.ones(2))
F.layer_norm(torch.ones(2).double(), (2, ), torch.ones(2), torch.ones(2))
F.batch_norm(torch.ones(3, 2).double(), torch.ones(2), torch.ones(2))
F.batch_norm(torch.ones(3, 2).double(), torch.ones(2), torch.ones(2), torch.ones(2), torch.ones(2), training=True)
F.batch_norm(torch.ones(3, 2).double(), None, None, torch.ones(2), training=True)
F.group_norm(torch.ones(3, 2).double(), 1, torch.ones(2))
F.instance_norm(torch.ones(3, 2, 2).double(), weight=torch.ones(2))
nn.BatchNorm1d(2).eval()(torch.ones(3, 2).double())
torch.addmm(torch.ones(2), torch.ones(2, 2).double(), torch.ones(2, 2))
torch.addmm(torch.ones(2), torch.ones(2, 2), torch.ones(2, 2).double())
torch.addmm(torch.ones(2), torch.ones(2, 2).double(), torch.ones(2, 2).double())
nn.Linear(2, 2)(torch.ones(2, 2).half())
nn.Linear(2, 2).half()(torch.ones(2, 2))
F.conv2d(torch.ones(1, 1, 2, 2).double(), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2).long(), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2).half(), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2).int(), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.uint8), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.bool), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.bfloat16), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.complex64), torch.ones(1, 1, 1, 1), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1).double(), torch.ones(1))
F.conv2d(torch.ones(1, 1, 2, 2, dtype=torch.int16), torch.ones(1, 1, 1, 1), torch.ones(1))
nn.Linear(2, 2)(torch.ones(2, 2, dtype=torch.float64))
nn.Linear(2, 2, bias=False)(torch.ones(2, 2, dtype=torch.float64))
nn.Linear(2, 2)(torch.ones(2, 2, dtype=torch.long))
nn.Linear(2, 2)(torch.ones(2, dtype=torch.long))
nn.Linear(2, 2)(torch.ones(3, 2, 2, dtype=torch.double))
torch.mm(torch.ones(2, 2), torch.ones(2, 2).double())
torch.ones(2, 2)@torch.ones(2, 2).double()
torch.ones(2, 2)@torch.ones(2, 2).long()
torch.matmul(torch.ones(2, 2), torch.ones(2).double())
torch.bmm(torch.ones(1, 2, 2), torch.ones(1, 2, 2).double())
torch.dot(torch.ones(2), torch.ones(2).double())
nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2).double())
nn.Conv1d(1, 1, 1)(torch.ones(1, 1, 2).long())
nn.LayerNorm(2)(torch.ones(2).double())
nn.BatchNorm1d(2)(torch.ones(3, 2).double()).dtype
F.cross_entropy(torch.ones(2, 2), torch.ones(2))
F.cross_entropy(torch.ones(2, 2), torch.ones(2, dtype=torch.int32))
F.mse_loss(torch.ones(2), torch.ones(2).double()).dtype
F.binary_cross_entropy(torch.ones(2)*.5, torch.ones(2).double())
nn.BCELoss()(torch.ones(2)*.5, torch.ones(2, dtype=torch.long))
nn.Embedding(2, 2)(torch.tensor([0.]))
F.relu(torch.ones(2, dtype=torch.long))
torch.sqrt(torch.arange(3)), torch.exp(torch.tensor([True]))
torch.ones(2, dtype=torch.long).std()
torch.ones(2, dtype=torch.bool).sum(), torch.ones(2, dtype=torch.int8).prod(), torch.ones(2, dtype=torch.bool).max()
F.softmax(torch.ones(2, dtype=torch.long), 0)
F.dropout(torch.ones(2, dtype=torch.long))
torch.rand(2, dtype=torch.long)
torch.randn(2, dtype=torch.int)
torch.arange(3).uniform_()
torch.arange(3).normal_()
torch.linalg.solve(torch.ones(2, 3), torch.ones(2))
""".strip().splitlines()


@pytest.mark.parametrize("text", SNIPPETS + DTYPES)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert said(ng, text) == said(torch, text)
