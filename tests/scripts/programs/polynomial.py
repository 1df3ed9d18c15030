"""A sine fitted by polynomials: by hand, with a Function of our own, with nn and optim."""
import math

import torch
from torch import nn, optim
from torch.autograd import Function


class Cubic(Function):
    """(5 t^3 - 3 t) / 2, the third Legendre polynomial."""

    @staticmethod
    def forward(ctx, t):
        ctx.save_for_backward(t)
        return 0.5 * (5 * t ** 3 - 3 * t)

    @staticmethod
    def backward(ctx, grad):
        t, = ctx.saved_tensors
        return grad * 1.5 * (5 * t ** 2 - 1)


torch.manual_seed(7)
x = torch.linspace(-math.pi, math.pi, 500)
y = torch.sin(x)

a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
for t in range(101):
    y_pred = a + b * Cubic.apply(c + d * x)
    loss = (y_pred - y).pow(2).sum()
    if t % 50 == 0:
        print(t, round(loss.item(), 3))
    loss.backward()
    with torch.no_grad():
        for p in (a, b, c, d):
            p -= 5e-6 * p.grad
            p.grad = None
print(f"y = {a.item():.4f} + {b.item():.4f} * P3({c.item():.4f} + {d.item():.4f} x)")

powers = torch.tensor([1, 2, 3])
xx = x.unsqueeze(-1).pow(powers)
print(xx.shape, xx.dtype)
model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0, 1))
print(model)
criterion = nn.MSELoss(reduction="sum")
optimizer = optim.Adam(model.parameters(), lr=1e-2)
for t in range(201):
    loss = criterion(model(xx), y)
    if t % 50 == 0:
        print(t, f"{loss.item():.3f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
linear = model[0]
print(f"y = {linear.bias.item():.3f} + {linear.weight[:, 0].item():.3f} x + {linear.weight[:, 1].item():.3f} x^2 "
      f"+ {linear.weight[:, 2].item():.3f} x^3")
