"""Learning-rate schedules, parameter groups, gradient clipping, early stopping, a best model kept."""
import copy

import torch
import torch.nn as nn
from torch.optim import lr_scheduler


def rates(make, steps=8, **settings):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.1, **settings)
    scheduler = make(optimizer)
    out = []
    for _ in range(steps):
        optimizer.step()
        out.append(round(optimizer.param_groups[0]["lr"], 6))
        scheduler.step()
    return out


print("step", rates(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.1)))
print("multi", rates(lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 5], gamma=0.5)))
print("exp", rates(lambda o: lr_scheduler.ExponentialLR(o, 0.9)))
print("cosine", rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=0.001)))
print("lambda", rates(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.95 ** epoch)))
print("onecycle", rates(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=9), momentum=0.9))

torch.manual_seed(0)
x = torch.randn(64, 5)
y = (x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]))[:, None] + 0.1 * torch.randn(64, 1)
model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW([{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.05}],
                              lr=0.02, weight_decay=0.01)
plateau = lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=2)
best, best_state, waited = float("inf"), None, 0
for epoch in range(40):
    loss = nn.functional.mse_loss(model(x[:48]), y[:48])
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    model.eval()
    with torch.no_grad():
        held_out = nn.functional.mse_loss(model(x[48:]), y[48:]).item()
    model.train()
    plateau.step(held_out)
    if held_out < best:
        best, best_state, waited = held_out, copy.deepcopy(model.state_dict()), 0
    else:
        waited += 1
        if waited > 10:
            print("stopped at", epoch)
            break
    if epoch % 10 == 0:
        print(f"{epoch} {loss.item():.3f} {held_out:.3f} {norm.item():.3f}", [g["lr"] for g in optimizer.param_groups])
model.load_state_dict(best_state)
print(f"best {best:.3f}", {k: tuple(v.shape) for k, v in model.state_dict().items()})
