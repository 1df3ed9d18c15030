"""A training step that draws from several families: PyTorch's losses, eager and compiled."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def losses(lib, wrap=lambda step: step):
    """Thirty losses of a small model of actions, latent numbers and rates."""
    lib.manual_seed(0)
    d, model = lib.distributions, lib.nn.Linear(4, 6)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-2)

    def step(x):
        h = model(x)
        actions, latent = d.Categorical(logits=h[:, :3]), d.Normal(h[:, 3:4], h[:, 4:5].exp())
        rates = d.Gamma(h[:, 5:].exp() + 1, 1.0)
        chosen, z, w = actions.sample(), latent.rsample(), rates.rsample()
        loss = (z**2).mean() + w.mean() + d.kl_divergence(latent, d.Normal(0.0, 1.0)).mean() - actions.entropy().mean()
        loss = loss - 0.1 * actions.log_prob(chosen).mean() - rates.log_prob(w.detach()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    step, x = wrap(step), lib.randn(16, 4)
    return np.array([step(x).item() for _ in range(30)])


def test_losses_are_pytorchs():
    ours, theirs = losses(ng), losses(torch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert theirs[-1] < theirs[0]


def test_compiled_losses():
    np.testing.assert_allclose(losses(ng, ng.compile), losses(ng), rtol=1e-5)
