"""Normalizing flows of two moons: RealNVP with masks, an invertible linear layer, planar transforms."""
import math

import torch
from torch import distributions, nn
from torch.distributions import constraints
from torch.distributions.transforms import AffineTransform, ComposeTransform, SigmoidTransform, Transform


def moons(n, noise=0.05):
    angle = torch.rand(n) * math.pi
    upper = torch.arange(n) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack((x, y), 1) + noise * torch.randn(n, 2)


class InvertibleLinear(nn.Module):
    """A full matrix that begins as a rotation; its determinant by slogdet, its inverse by solve."""

    def __init__(self, d):
        super().__init__()
        self.W = nn.Parameter(torch.linalg.qr(torch.randn(d, d))[0])

    def forward(self, x):
        return x @ self.W.T, torch.linalg.slogdet(self.W).logabsdet.expand(len(x))

    def inverse(self, z):
        return torch.linalg.solve(self.W, z.T).T


class Coupling(nn.Module):
    def __init__(self, mask, hidden=24):
        super().__init__()
        self.register_buffer("mask", mask)
        self.s = nn.Sequential(nn.Linear(2, hidden), nn.LeakyReLU(), nn.Linear(hidden, 2), nn.Tanh())
        self.t = nn.Sequential(nn.Linear(2, hidden), nn.LeakyReLU(), nn.Linear(hidden, 2))

    def forward(self, x):
        s, t = (net(x * self.mask) * (1 - self.mask) for net in (self.s, self.t))
        return x * self.mask + (1 - self.mask) * (x * s.exp() + t), s.sum(dim=1)

    def inverse(self, z):
        s, t = self.s(z * self.mask), self.t(z * self.mask)
        return z * self.mask + (1 - self.mask) * (z - t) * torch.exp(-s)


class RealNVP(nn.Module):
    def __init__(self, prior, layers=3):
        super().__init__()
        self.prior, masks = prior, torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        self.parts = nn.ModuleList([p for i in range(layers) for p in (Coupling(masks[i % 2]), InvertibleLinear(2))])

    def log_prob(self, x):
        total = x.new_zeros(x.shape[0])
        for part in self.parts:
            x, log_det = part(x)
            total = total + log_det
        return self.prior.log_prob(x) + total

    def sample(self, n):
        z = self.prior.sample((n,))
        for part in reversed(self.parts):
            z = part.inverse(z)
        return z


class Planar(Transform, nn.Module):
    """A transform of PyTorch's own kind: x + u tanh(w x + b)."""
    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, d=2):
        nn.Module.__init__(self)
        Transform.__init__(self, cache_size=1)
        self.w, self.u, self.b = (nn.Parameter(0.3 * torch.randn(n)) for n in (d, d, 1))

    def __hash__(self):
        return nn.Module.__hash__(self)

    def bounded(self):
        wu = self.w @ self.u
        return self.u + (nn.functional.softplus(wu) - 1 - wu) * self.w / self.w.square().sum()

    def _call(self, x):
        return x + self.bounded() * torch.tanh(x @ self.w + self.b).unsqueeze(-1)

    def log_abs_det_jacobian(self, x, y):
        psi = (1 - torch.tanh(x @ self.w + self.b) ** 2).unsqueeze(-1) * self.w
        return (1 + psi @ self.bounded()).abs().log()


def energy(z):
    """Minus the log density of a ring with two heavy sides, not normalized."""
    sides = torch.exp(-0.5 * ((z[..., 0, None] - torch.tensor([2.0, -2.0])) / 0.6) ** 2)
    return 0.5 * ((z.norm(dim=-1) - 2) / 0.4) ** 2 - torch.log(sides.sum(-1) + 1e-6)


torch.manual_seed(42)
flow = RealNVP(distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)))
optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad], lr=5e-3)
for step in range(81):
    loss = -flow.log_prob(moons(128)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"iter {step}: loss = {loss:.4f}")
with torch.no_grad():
    x = flow.sample(256)
    print("samples", [f"{v:.3f}" for v in torch.cat((x.mean(0), torch.cov(x.T).flatten())).tolist()])
jacobian = torch.autograd.functional.jacobian(lambda v: flow.parts[0](v)[0].sum(0), x[:1])[:, 0]
print(f"log det {jacobian.det().abs().log():.4f} is {flow.parts[0](x[:1])[1].item():.4f}")

base = distributions.Independent(distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
layers = nn.ModuleList([Planar() for _ in range(4)])
planar = distributions.TransformedDistribution(base, list(layers))
optimizer = torch.optim.Adagrad(layers.parameters(), lr=0.1)
for step in range(61):
    z = planar.rsample((128,))
    loss = (planar.log_prob(z) + energy(z)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"iter {step}: free energy = {loss.item():.4f}")
unit = distributions.TransformedDistribution(
    distributions.Uniform(0, 1), ComposeTransform([SigmoidTransform().inv, AffineTransform(loc=0.3, scale=2.0)]))
value = unit.sample((4,))
print(unit.log_prob(value), unit.cdf(value), unit.support)
