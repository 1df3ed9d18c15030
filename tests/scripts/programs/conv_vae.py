"""A convolutional variational autoencoder of drawn discs and bars: distributions, KL divergence, free bits, interpolation."""
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.utils.data import DataLoader, TensorDataset, random_split


def shapes(n, size=16):
    """Half of them discs, half bars, in (n, 1, size, size)."""
    grid = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    cx, cy = (torch.rand(2, n, 1, 1) - 0.5).unbind(0)
    radius = 0.2 + 0.4 * torch.rand(n, 1, 1)
    disc = ((x - cx) ** 2 + (y - cy) ** 2).sqrt() < radius
    angle = torch.rand(n, 1, 1) * torch.pi
    bar = ((x - cx) * angle.cos() + (y - cy) * angle.sin()).abs() < radius / 2
    kind = torch.arange(n) % 2
    return torch.where(kind.bool()[:, None, None], disc, bar).float().unsqueeze(1), kind


class Encoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(),
            nn.Conv2d(8, 16, 4, stride=2, padding=1, bias=False), nn.GroupNorm(4, 16), nn.SiLU(), nn.Flatten())
        self.mean, self.log_scale = nn.Linear(256, latent), nn.Linear(256, latent)

    def forward(self, x):
        h = self.body(x)
        return Independent(Normal(self.mean(h), self.log_scale(h).clamp(-5, 3).exp()), 1)


class Decoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(latent, 256), nn.ELU(), nn.Unflatten(1, (16, 4, 4)),
            nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.ELU(), nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(8, 1, 3, padding=1, padding_mode="replicate"))

    def forward(self, z):
        return Independent(Bernoulli(logits=self.body(z)), 3)


class VAE(nn.Module):
    def __init__(self, latent=4):
        super().__init__()
        self.encoder, self.decoder = Encoder(latent), Decoder(latent)
        self.register_buffer("zero", torch.zeros(latent))

    @property
    def prior(self):
        return Independent(Normal(self.zero, torch.ones_like(self.zero)), 1)

    def forward(self, x):
        q = self.encoder(x)
        z = q.rsample()
        return -self.decoder(z).log_prob(x), kl_divergence(q, self.prior)


def train(model, loader, optimizer, beta):
    model.train()
    total = torch.zeros(2)
    for x, _ in loader:
        rec, kl = model(x)
        loss = (rec + beta * torch.maximum(kl, torch.tensor(0.5))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.stack((rec.sum(), kl.sum())).detach()
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader):
    """Reconstruction and KL term, and the bound of eight samples."""
    model.eval()
    rec, kl, bound = [], [], []
    for x, _ in loader:
        for out, value in zip((rec, kl), model(x)):
            out.append(value)
        q = model.encoder(x)
        z = q.sample((8,))
        logits = model.decoder(z.flatten(0, 1)).log_prob(x.repeat(8, 1, 1, 1)).view(8, -1)
        weights = logits + model.prior.log_prob(z) - q.log_prob(z)
        bound.append(torch.logsumexp(weights, 0) - torch.tensor(8.0).log())
    return [torch.cat(v).mean().item() for v in (rec, kl, bound)]


def main():
    torch.manual_seed(3)
    data = TensorDataset(*shapes(320))
    train_set, test_set = random_split(data, [0.8, 0.2])
    loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    test = DataLoader(test_set, batch_size=64)
    model = VAE()
    optimizer = torch.optim.Adamax(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, epochs=6, steps_per_epoch=1)
    for epoch in range(6):
        rec, kl = train(model, loader, optimizer, beta=min(1.0, (epoch + 1) / 3))
        lr = optimizer.param_groups[0]["lr"]
        schedule.step()
        test_rec, test_kl, bound = evaluate(model, test)
        print(f"epoch {epoch}: train {rec:.3f} + {kl:.3f}, test {test_rec:.3f} + {test_kl:.3f}, "
              f"bound {bound:.3f}, lr {lr:.5f}")
    with torch.no_grad():
        a, b = model.encoder(data.tensors[0][:2]).mean
        path = torch.lerp(a, b, torch.linspace(0, 1, 5)[:, None])
        images = model.decoder(path).mean
        print("on the way from a bar to a disc:", [f"{v:.3f}" for v in images.mean((1, 2, 3)).tolist()])
        print(model.decoder(model.prior.sample((3,))).base_dist.probs.shape, model.encoder(images))


if __name__ == "__main__":
    main()
