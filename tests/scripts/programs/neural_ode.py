"""A neural ODE of a spiral: Runge-Kutta steps, gradients by the adjoint equation against those through the solver."""
import torch
import torch.nn as nn
from torch.autograd import Function
from torch.nn.utils import parameters_to_vector


def rk4_step(func, t, dt, y):
    k1 = func(t, y)
    k2 = func(t + dt / 3, y + dt * k1 / 3)
    k3 = func(t + dt * 2 / 3, y + dt * (k2 - k1 / 3))
    k4 = func(t + dt, y + dt * (k1 - k2 + k3))
    return (k1 + 3 * (k2 + k3) + k4) * dt * 0.125


def odeint(func, y0, t, substeps=2):
    solution, y = [y0], y0
    for t0, t1 in zip(t[:-1], t[1:]):
        h = (t1 - t0) / substeps
        for i in range(substeps):
            y = y + rk4_step(func, t0 + i * h, h, y)
        solution.append(y)
    return torch.stack(solution)


def flatten(tensors):
    return torch.cat([p.reshape(-1) for p in tensors])


class OdeintAdjoint(Function):
    @staticmethod
    def forward(ctx, func, t, y0, flat_params):
        ctx.func = func
        with torch.no_grad():
            ans = odeint(func, y0, t)
        ctx.save_for_backward(t, ans, flat_params)
        return ans

    @staticmethod
    def backward(ctx, grad_output):
        func = ctx.func
        t, ans, flat_params = ctx.saved_tensors
        params, shape, n = tuple(func.parameters()), ans.shape[1:], ans[0].numel()

        def augmented(time, state):
            y, adj_y = state[:n].view(shape), state[n:2 * n].view(shape)
            with torch.enable_grad():
                time, y = time.detach().requires_grad_(True), y.detach().requires_grad_(True)
                value = func(time, y)
                vjp_t, vjp_y, *vjp_params = torch.autograd.grad(
                    value, (time, y) + params, -adj_y, allow_unused=True, retain_graph=True)
            vjp_t = torch.zeros_like(time) if vjp_t is None else vjp_t
            vjp_params = [torch.zeros_like(p) if g is None else g for p, g in zip(params, vjp_params)]
            return torch.cat([value.detach().reshape(-1), vjp_y.reshape(-1), vjp_t.reshape(1), flatten(vjp_params)])

        with torch.no_grad():
            adj_y, adj_t, adj_params = grad_output[-1], torch.zeros(1), torch.zeros_like(flat_params)
            time_grads = []
            for i in range(len(t) - 1, 0, -1):
                moved = torch.dot(func(t[i], ans[i]).reshape(-1), grad_output[i].reshape(-1))
                adj_t = adj_t - moved
                time_grads.append(moved.reshape(1))
                state = torch.cat([ans[i].reshape(-1), adj_y.reshape(-1), adj_t, adj_params])
                state = odeint(augmented, state, torch.stack([t[i], t[i - 1]]))[-1]
                adj_y, adj_t, adj_params = state[n:2 * n].view(shape), state[2 * n:2 * n + 1], state[2 * n + 1:]
                adj_y = adj_y + grad_output[i - 1]
            time_grads.append(adj_t)
        return None, torch.cat(time_grads[::-1]), adj_y, adj_params


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 2))
        self.unused = nn.Parameter(torch.ones(1))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)
        self.nfe = 0

    def forward(self, t, y):
        self.nfe += 1
        return self.net(y ** 3)


class Lambda(nn.Module):
    def forward(self, t, y):
        return torch.mm(y ** 3, torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=y.dtype))


def odeint_adjoint(func, y0, t):
    return OdeintAdjoint.apply(func, t, y0, flatten(func.parameters()))


torch.manual_seed(0)
t = torch.linspace(0.0, 8.0, 80)
with torch.no_grad():
    true_y = odeint(Lambda(), torch.tensor([[2.0, 0.0]]), t)
print("data", true_y[[0, 39, 79]].squeeze(1))
func = ODEFunc()
optimizer = torch.optim.RMSprop(func.parameters(), lr=5e-3)
average = None
for itr in range(1, 31):
    s = torch.multinomial(torch.ones(70), 8, replacement=False)
    y0, batch_t = true_y[s], t[:6]
    batch_y = torch.stack([true_y[s + i] for i in range(6)], dim=0)
    optimizer.zero_grad()
    loss = torch.mean(torch.abs(odeint_adjoint(func, y0, batch_t) - batch_y))
    loss.backward()
    optimizer.step()
    average = loss.item() if average is None else 0.9 * average + 0.1 * loss.item()
    if itr % 5 == 0:
        with torch.no_grad():
            total = (odeint(func, true_y[0], t) - true_y).abs().mean()
        print(f"iter {itr:04d} | loss {loss.item():.5f} | average {average:.5f} | total {total.item():.4f} | nfe {func.nfe}")
func.double()
y0, t64 = true_y[[3, 20]].double().requires_grad_(), t[:5].double().requires_grad_()
for how in (odeint_adjoint, odeint):
    func.zero_grad()
    y0.grad = t64.grad = None
    how(func, y0, t64).pow(2).sum().backward()
    g = parameters_to_vector([p.grad for p in func.net.parameters()])
    print(f"{how.__name__}: {g.norm():.4f} {g[:3].tolist()[0]:.5f} {y0.grad.norm():.4f} {t64.grad[1:].norm():.4f}",
          None if how is odeint else func.unused.grad.shape)
