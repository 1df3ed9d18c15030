"""A small GAN on points of a ring: spectral norm by hook and by parametrization, weight norm, lazy layers, pruning."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.spectral_norm import SpectralNorm, spectral_norm


def ring(n):
    angle = torch.rand(n) * 2 * math.pi
    return torch.stack((angle.cos(), angle.sin()), 1) + 0.05 * torch.randn(n, 2)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            parametrizations.weight_norm(nn.Linear(4, 32)), nn.ReLU(), nn.LazyBatchNorm1d(), nn.LazyLinear(2)
        )

    def forward(self, z):
        return self.net(z)


def critic():
    hidden = spectral_norm(nn.Linear(2, 32))
    assert any(isinstance(hook, SpectralNorm) for hook in hidden._forward_pre_hooks.values())
    return nn.Sequential(hidden, nn.LeakyReLU(0.1), parametrizations.spectral_norm(nn.Linear(32, 1)))


def main():
    torch.manual_seed(0)
    g, d = Generator(), critic()
    print(g(torch.randn(8, 4)).shape, g)
    print(d)
    of_g, of_d = torch.optim.Adam(g.parameters(), lr=2e-3), torch.optim.Adam(d.parameters(), lr=2e-3)
    for step in range(1, 101):
        real, fake = d(ring(64)), d(g(torch.randn(64, 4)).detach())
        loss_d = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        of_d.zero_grad()
        loss_d.backward()
        of_d.step()
        loss_g = -d(g(torch.randn(64, 4))).mean()
        of_g.zero_grad()
        loss_g.backward()
        of_g.step()
        if step % 25 == 0:
            print(f"step {step}: critic {loss_d.item():.4f}, generator {loss_g.item():.4f}")
    prune.l1_unstructured(g.net[3], "weight", amount=0.5)
    print(int((g.net[3].weight == 0).sum()), "weights pruned;", sorted(g.state_dict()))
    print(f"radius {g.eval()(torch.randn(256, 4)).norm(dim=1).mean().item():.3f}")


if __name__ == "__main__":
    main()
