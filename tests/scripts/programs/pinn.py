"""Burgers' equation by a physics-informed network: Adam, then LBFGS with a line search; a viscosity found from data."""
from collections import OrderedDict

import torch
from torch import nn

torch.set_default_dtype(torch.float64)  # second derivatives and LBFGS amplify rounding


class DNN(nn.Module):
    def __init__(self, layers):
        super().__init__()
        named = []
        for i in range(len(layers) - 2):
            named += [(f"layer_{i}", nn.Linear(layers[i], layers[i + 1])), (f"activation_{i}", nn.Tanh())]
        named.append((f"layer_{len(layers) - 2}", nn.Linear(layers[-2], layers[-1])))
        self.layers = nn.Sequential(OrderedDict(named))

    def forward(self, x):
        return self.layers(x)


def derivative(of, by):
    return torch.autograd.grad(of, by, grad_outputs=torch.ones_like(of), retain_graph=True, create_graph=True)[0]


class PhysicsInformedNN:
    def __init__(self, n_boundary=40, n_inside=120):
        x0 = torch.rand(n_boundary, 1) * 2 - 1
        t1 = torch.rand(n_boundary, 1)
        wall = torch.where(torch.rand(n_boundary, 1) < 0.5, -1.0, 1.0)
        self.x_u = torch.cat((x0, wall))
        self.t_u = torch.cat((torch.zeros_like(t1), t1))
        self.u = torch.cat((-torch.sin(torch.pi * x0), torch.zeros_like(t1)))
        points = torch.rand(n_inside, 2)
        self.x_f = (points[:, :1] * 2 - 1).requires_grad_()
        self.t_f = points[:, 1:].clone().requires_grad_()
        self.nu = 0.05
        self.dnn = DNN([2, 16, 16, 1])
        self.optimizer = torch.optim.LBFGS(
            self.dnn.parameters(), lr=1.0, max_iter=25, max_eval=40, history_size=20, tolerance_grad=1e-5,
            tolerance_change=1.0 * torch.finfo(torch.float64).eps, line_search_fn="strong_wolfe")
        self.iter = 0

    def net_u(self, x, t):
        return self.dnn(torch.cat([x, t], dim=1))

    def net_f(self, x, t):
        u = self.net_u(x, t)
        u_t, u_x = derivative(u, t), derivative(u, x)
        u_xx = derivative(u_x, x)
        return u_t + u * u_x - self.nu * u_xx

    def losses(self):
        return (torch.mean((self.u - self.net_u(self.x_u, self.t_u)) ** 2),
                torch.mean(self.net_f(self.x_f, self.t_f) ** 2))

    def loss_func(self):
        self.optimizer.zero_grad()
        loss_u, loss_f = self.losses()
        loss = loss_u + loss_f
        loss.backward()
        self.iter += 1
        if self.iter % 5 == 0:
            print(f"Iter {self.iter}, Loss: {loss.item():.4e}, Loss_u: {loss_u.item():.4e}, Loss_f: {loss_f.item():.4e}")
        return loss

    def train(self):
        self.dnn.train()
        adam = torch.optim.Adam(self.dnn.parameters(), lr=5e-3)
        for epoch in range(60):
            adam.zero_grad()
            loss = sum(self.losses())
            loss.backward()
            adam.step()
            if epoch % 10 == 0:
                print(f"epoch {epoch}: {loss.item():.5f}")
        self.optimizer.step(self.loss_func)
        print(self.optimizer.state_dict()["state"][0]["n_iter"], "iterations,",
              self.optimizer.state_dict()["state"][0]["func_evals"], "evaluations")

    @torch.no_grad()
    def predict(self, n=5):
        x, t = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(0, 1, n), indexing="ij")
        return self.net_u(x.reshape(-1, 1), t.reshape(-1, 1)).view(n, n)


class Viscosity(nn.Module):
    """The inverse problem: nu of a heat equation, of which exp(-nu pi^2 t) sin(pi x) is the solution."""

    def __init__(self):
        super().__init__()
        self.log_nu = nn.Parameter(torch.tensor(-2.5))
        self.net = DNN([2, 12, 12, 1])

    def forward(self, x, t):
        u = self.net(torch.hstack((x, t)))
        return u, derivative(u, t) - self.log_nu.exp() * derivative(derivative(u, x), x)


torch.manual_seed(1234)
model = PhysicsInformedNN()
model.train()
torch.set_printoptions(precision=2, sci_mode=False)
print(model.predict())

x, t = torch.rand(2, 64, 1).requires_grad_().unbind(0)
exact = (torch.exp(-0.2 * torch.pi ** 2 * t) * torch.sin(torch.pi * x)).detach()
inverse = Viscosity()
optimizer = torch.optim.NAdam([{"params": inverse.net.parameters()}, {"params": [inverse.log_nu], "lr": 2e-2}], lr=1e-2)
for epoch in range(90):
    optimizer.zero_grad()
    u, residual = inverse(x, t)
    loss = nn.functional.mse_loss(u, exact) + 0.1 * residual.square().mean()
    loss.backward()
    optimizer.step()
    if epoch % 30 == 29:
        print(f"epoch {epoch}: loss {loss.item():.5f}, nu {inverse.log_nu.exp().item():.4f}")
