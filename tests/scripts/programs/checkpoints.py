"""Saving and loading: state dicts, whole checkpoints, resumed training, part of a model."""
import os
import tempfile

import torch
import torch.nn as nn
import torch.optim as optim


class Classifier(nn.Module):
    def __init__(self, inputs=4, classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(inputs, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, classes)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
        return self.head(self.features(x)) * self.scale


def steps(model, optimizer, n):
    loss_fn = nn.CrossEntropyLoss()
    for _ in range(n):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
x, y = torch.randn(30, 4), torch.randint(0, 3, (30,))
model = Classifier()
optimizer = optim.Adam(model.parameters(), lr=0.01)
print(f"{steps(model, optimizer, 5):.4f}")
for name, tensor in model.state_dict().items():
    print(name, tensor.size(), tensor.dtype)
print(list(optimizer.state_dict()), optimizer.state_dict()["param_groups"][0]["lr"])

folder = tempfile.mkdtemp()
path = os.path.join(folder, "checkpoint.tar")
torch.save({"epoch": 5, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, path)
straight = steps(model, optimizer, 5)

again = Classifier()
optimizer = optim.Adam(again.parameters(), lr=0.5)
checkpoint = torch.load(path, weights_only=True)
print(again.load_state_dict(checkpoint["model_state_dict"]))
optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
print(checkpoint["epoch"], steps(again, optimizer, 5) == straight, f"{straight:.4f}")

again.eval()
print(again(x[:2]))
other = Classifier(classes=5)
partial = {k: v for k, v in again.state_dict().items() if not k.startswith("head")}
print(other.load_state_dict(partial, strict=False))
try:
    other.load_state_dict(again.state_dict())
except RuntimeError as e:
    print(e)
try:
    torch.load(os.path.join(folder, "missing.pt"))
except FileNotFoundError as e:
    print(type(e).__name__, e.errno)
