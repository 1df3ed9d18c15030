"""A spatial transformer: noisy glyphs that were turned, shifted and scaled, made upright by affine_grid and grid_sample."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset


def glyphs(size=20):
    """Four shapes, (4, size, size)."""
    out = torch.zeros(4, size, size)
    a, b, m = size // 4, size - size // 4, size // 2
    out[0, a:b, m - 1:m + 1] = out[0, m - 1:m + 1, a:b] = 1
    out[1, a:b, a:a + 2] = out[1, b - 2:b, a:b] = 1
    out[2, a:b, a:b] = 1
    out[2, a + 2:b - 2, a + 2:b - 2] = 0
    out[3].fill_diagonal_(1).mul_(torch.ones(size, size).triu(-1)).add_(out[3].flip(1)).clamp_(max=1)
    return out


class Turned(Dataset):
    def __init__(self, n, generator):
        labels = torch.randint(4, (n,), generator=generator)
        angle = (torch.rand(n, generator=generator) - 0.5) * math.pi / 2
        scale = 0.9 + 0.5 * torch.rand(n, generator=generator)
        shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.4
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * scale, -angle.sin() * scale
        theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * scale, angle.cos() * scale
        theta[:, :, 2] = shift
        x = glyphs()[labels].unsqueeze(1)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        noise = 0.05 * torch.randn(x.shape, generator=generator)
        self.x, self.y = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False) + noise, labels

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i].item()


class Net(nn.Module):
    def __init__(self, mode="bilinear", padding_mode="zeros", align_corners=False):
        super().__init__()
        self.options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5)
        self.conv2 = nn.Conv2d(6, 12, kernel_size=3)
        self.conv2_drop = nn.Dropout2d(0.2)
        self.fc1, self.fc2 = nn.Linear(12 * 3 * 3, 24), nn.Linear(24, 4)
        self.localization = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5), nn.MaxPool2d(2, stride=2), nn.ReLU(True),
            nn.Conv2d(6, 8, kernel_size=3), nn.MaxPool2d(2, stride=2), nn.ReLU(True))
        self.fc_loc = nn.Sequential(nn.Linear(8 * 3 * 3, 16), nn.ReLU(True), nn.Linear(16, 3 * 2))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))

    def stn(self, x):
        xs = self.localization(x)
        theta = self.fc_loc(xs.view(-1, 8 * 3 * 3)).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=self.options["align_corners"])
        return F.grid_sample(x, grid, **self.options)

    def forward(self, x):
        x = self.stn(x)
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.view(-1, 12 * 3 * 3)))
        x = F.dropout(x, 0.2, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


def train(model, optimizer, loader, epoch):
    model.train()
    for data, target in loader:
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
    print(f"Train Epoch: {epoch} [{len(loader) * len(data)}/{len(loader.dataset)}] Loss: {loss.item():.5f}")


def test(model, loader):
    with torch.no_grad():
        model.eval()
        test_loss, correct = 0, 0
        for data, target in loader:
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.max(1, keepdim=True)[1]
            correct += pred.eq(target.view_as(pred)).sum().item()
        n = len(loader.dataset)
        print(f"Test set: Average loss: {test_loss / n:.4f}, Accuracy: {correct}/{n} ({100.0 * correct / n:.0f}%)")


torch.manual_seed(10)
generator = torch.Generator().manual_seed(2)
train_loader = DataLoader(Turned(256, generator), batch_size=32, shuffle=True)
test_loader = DataLoader(Turned(64, generator), batch_size=64)
for options in ({}, {"mode": "bicubic", "padding_mode": "border", "align_corners": True}, {"padding_mode": "reflection"}):
    model = Net(**options)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for epoch in range(1, 4):
        train(model, optimizer, train_loader, epoch)
        test(model, test_loader)
    with torch.no_grad():
        images = next(iter(test_loader))[0]
        moved = model.stn(images)
        print(options, f"{images.mean():.4f} {moved.mean():.4f} {F.l1_loss(moved, images):.4f}", model.fc_loc[2].bias.shape)
