"""Differential equations: every solver of torchdiffeq, adjoint gradients, events, a neural ODE."""

import torch
from torch import nn
from torchdiffeq import odeint, odeint_adjoint, odeint_event

torch.manual_seed(0)
A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
y0, times = torch.tensor([[2.0, 0.0]]), torch.linspace(0.0, 2.0, 9)


class Spiral(nn.Module):
    calls = 0

    def forward(self, t, y):
        self.calls += 1
        return y**3 @ A.to(y.dtype)


for method in ("dopri8", "dopri5", "bosh3", "fehlberg2", "adaptive_heun", "euler", "midpoint", "heun3", "rk4",
               "explicit_adams", "implicit_adams", "fixed_adams"):
    f = Spiral()
    with torch.no_grad():
        y = odeint(f, y0.double(), times.double(), method=method, rtol=1e-7, atol=1e-9)
    print(method, f.calls, f"{y[-1, 0, 0].item():.4f} {y.double().sum().item():.4f}")
field = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
for part in field:
    if isinstance(part, nn.Linear):
        nn.init.normal_(part.weight, std=0.1)
        nn.init.zeros_(part.bias)
truth = odeint(Spiral(), y0, times, method="rk4").detach()


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = field

    def forward(self, t, y):
        return self.net(y**3)


f = Field()
optimizer = torch.optim.RMSprop(f.parameters(), lr=1e-2)
for solve in (odeint, odeint_adjoint):
    for i in range(4):
        optimizer.zero_grad()
        loss = (solve(f, y0, times, method="dopri5" if i % 2 else "rk4") - truth).abs().mean()
        loss.backward()
        optimizer.step()
        print(f"{solve.__name__} {loss.item():.4f} {sum(p.grad.double().abs().sum() for p in f.parameters()).item():.3f}")


class Ball(nn.Module):
    def __init__(self):
        super().__init__()
        self.gravity = nn.Parameter(torch.tensor(9.8, dtype=torch.float64))

    def forward(self, t, state):
        return state[1], -self.gravity.expand_as(state[1])


ball = Ball()
start = (torch.tensor([10.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64, requires_grad=True))
t, (heights, speeds) = odeint_event(ball, start, torch.tensor(0.0, dtype=torch.float64),
                                    event_fn=lambda t, s: s[0][0], atol=1e-9, rtol=1e-9)
t.backward()
print(f"{t.item():.6f} {speeds[-1].item():.6f} {ball.gravity.grad.item():.6f} {start[1].grad.item():.6f}")
x = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
points = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
y = odeint(lambda t, y: torch.sin(t) * y, x, points)
g = torch.autograd.grad(y.sum(), (x, points), create_graph=True)
second, = torch.autograd.grad(g[0].sum(), points)
print([f"{v:.6f}" for t in (*g, second) for v in t.tolist()])
z = odeint(lambda t, y: 1j * y, torch.ones(1, dtype=torch.complex128), points.detach())
print([f"{v.real:.6f} {v.imag:.6f}" for v in z.flatten().tolist()])
for bad in (lambda: odeint(f, y0, times.flip(0)[[0, 2, 1]]), lambda: odeint(f, y0, times, method="none"),
            lambda: odeint_adjoint(lambda t, y: y, y0, times), lambda: odeint(f, y0.long(), times)):
    try:
        print(bad())
    except Exception as e:
        print(type(e).__name__, e)
