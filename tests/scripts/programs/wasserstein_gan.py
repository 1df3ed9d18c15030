"""A convolutional GAN of small rings: spectral norm, hinge loss, a penalty on gradients, averaged weights."""
import argparse
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import spectral_norm

parser = argparse.ArgumentParser()
parser.add_argument("--nz", type=int, default=8, help="size of the latent vector")
parser.add_argument("--ngf", type=int, default=8)
parser.add_argument("--ndf", type=int, default=8)
parser.add_argument("--steps", type=int, default=24)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--manual-seed", type=int, default=999)
opt = parser.parse_args()


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        weight = m.weight_orig if hasattr(m, "weight_orig") else m.weight
        nn.init.normal_(weight.data, 0.0, 0.1)
    elif classname.find("BatchNorm") != -1:
        m.weight.data.normal_(1.0, 0.02)
        m.bias.data.fill_(0)


class Generator(nn.Module):
    def __init__(self, nz, ngf):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(True),
            nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, input):
        return self.main(input)


class Critic(nn.Module):
    def __init__(self, ndf):
        super().__init__()
        self.main = nn.Sequential(
            spectral_norm(nn.Conv2d(1, ndf, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2, inplace=True),
            spectral_norm(nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False), n_power_iterations=2), nn.LeakyReLU(0.2, inplace=True))
        self.out = spectral_norm(nn.Conv2d(ndf * 2, 1, 4, 1, 0))

    def forward(self, input):
        return self.out(self.main(input)).view(-1, 1).squeeze(1)


def rings(n):
    grid = torch.linspace(-1, 1, 16)
    y, x = torch.meshgrid(grid, grid, indexing="xy")
    radius = torch.empty(n, 1, 1, 1).uniform_(0.4, 0.8)
    return torch.exp(-((x.hypot(y) - radius) / 0.15) ** 2) * 2 - 1


def gradient_penalty(critic, real, fake):
    alpha = torch.rand(real.size(0), 1, 1, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(mixed)
    gradient, = torch.autograd.grad(outputs=score, inputs=mixed, grad_outputs=torch.ones_like(score),
                                    create_graph=True, retain_graph=True, only_inputs=True)
    return ((gradient.view(gradient.size(0), -1).norm(2, dim=1) - 1) ** 2).mean()


@torch.no_grad()
def average(into, source, decay):
    for p, q in zip(into.parameters(), source.parameters()):
        p.mul_(decay).add_(q, alpha=1 - decay)
    for p, q in zip(into.buffers(), source.buffers()):
        p.copy_(q)


torch.manual_seed(opt.manual_seed)
netG, netD = Generator(opt.nz, opt.ngf), Critic(opt.ndf)
netG.apply(weights_init)
netD.apply(weights_init)
print(netD)
smooth = copy.deepcopy(netG).requires_grad_(False)
fixed_noise = torch.randn(32, opt.nz, 1, 1)
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizerG = torch.optim.RMSprop(netG.parameters(), lr=2e-4)
for step in range(opt.steps):
    for p in netD.parameters():
        p.requires_grad = True
    for _ in range(2):
        netD.zero_grad()
        real = rings(opt.batch_size)
        with torch.no_grad():
            fake = netG(torch.randn(opt.batch_size, opt.nz, 1, 1))
        errD = F.relu(1 - netD(real)).mean() + F.relu(1 + netD(fake)).mean()
        penalty = gradient_penalty(netD, real, fake)
        (errD + penalty).backward()
        optimizerD.step()
    for p in netD.parameters():
        p.requires_grad = False
    netG.zero_grad()
    errG = -netD(netG(torch.randn(opt.batch_size, opt.nz, 1, 1))).mean()
    errG.backward()
    optimizerG.step()
    average(smooth, netG, 0.9)
    if step % 4 == 0:
        print(f"[{step}/{opt.steps}] Loss_D: {errD.item():.4f} Loss_G: {errG.item():.4f} penalty: {penalty.item():.4f}")
smooth.eval()
images = smooth(fixed_noise)
print(tuple(images.shape), f"mean {images.mean():.4f}, std {images.std():.4f}")
print([f"{m.weight_u.norm():.4f} {torch.linalg.matrix_norm(m.weight.flatten(1), 2):.3f}"
       for m in netD.modules() if hasattr(m, "weight_u")])
print(sorted(netD.state_dict()))
