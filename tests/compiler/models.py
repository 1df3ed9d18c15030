"""Pieces of programs with modules, optimizers and hooks."""

from __future__ import annotations

from .pieces import Piece

MODULES = [
    "nn.Linear(4, 4)", "nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))",
    "nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 4))",
    "nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))",
    "nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4, bias=False))",
    "Net@()", "Child@()", "nn.Sequential(Net@(), nn.GELU())",
]
TOP = """class Net@(nn.Module):
    gain = 1.0

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.scale = nn.Parameter(ng.ones(4))
        self.register_buffer("seen", ng.zeros(4))
        self.calls, self.alpha, self.act, self.log, self.extra = 0, 0.1, F.relu, [], None

    @property
    def power(self):
        return self.alpha * 2

    def mix(self, h):
        return h * self.scale * self.gain

    def forward(self, h):
        self.calls += 1
        for layer in self.layers:
            h = self.act(layer(h))
        if self.training:
            with ng.no_grad():
                self.seen.mul_(0.9).add_(h.mean(0), alpha=self.alpha)
        if self.extra is not None:
            h = self.extra(h)
        return self.mix(h) + self.seen * self.power


class Child@(Net@):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.register_buffer("steps", ng.tensor(0.0), persistent=False)
        self.hidden = None

    def mix(self, h):
        self.steps = self.steps + 1
        return super().mix(h) / (1 + self.steps)

    def forward(self, h):
        h = self.head(super().forward(h))
        if self.hidden is not None:
            h = h + self.hidden
        self.hidden = h.detach().mean(0)
        return h


class Count@:
    def __init__(self):
        self.n, self.factor = 0, 1.5

    def __call__(self, *args):
        self.n += 1
"""
NETS = ["m@.calls = 0", "m@.alpha = $", "m@.act = ng.tanh", "m@.gain = $", "m@.extra = nn.Linear(4, 4)", "m@.extra = None",
    "m@.layers.append(nn.Linear(4, 4))",
        "m@.layers[0] = nn.Linear(4, 4)", "Net@.gain = $", "Net@.mix = lambda self, h: h - 1", "m@.seen = ng.ones(4)",
        "m@.seen.zero_()",
        "m@.scale = nn.Parameter(ng.ones(4) * 2)", "m@.scale.requires_grad_(False)", "m@.scale.data = ng.ones(4) * 3",
        "m@.layers.train()", "m@.layers[1].eval()",
        "m@.hidden = None", "m@.layers[0].weight.t_()", "m@.layers[0].weight = m@.layers[1].weight",
        "m@.mix = lambda h: h * 2", "m@.layers[0].bias = None"]
SEQUENTIAL = ["m@[0] = nn.Linear(4, 4)", "m@[-1].eval()", "m@.append(nn.ReLU())", "m@.add_module('more', nn.Tanh())",
    "m@[1].train(False)"]
ANY = ["m@.eval()", "m@.train()", "m@.requires_grad_(False)", "m@.requires_grad_(True)",
    "next(m@.parameters()).data.mul_(0.5)",
       "p = next(m@.parameters())\np.data = p.data.clone()",
       "p = next(m@.parameters())\np.requires_grad_(not p.requires_grad)",
       "m@.load_state_dict({n: v * 0.5 for n, v in m@.state_dict().items()})", "m@.zero_grad()",
       "next(m@.parameters()).grad = None", "m@ = copy.deepcopy(m@)",
       "m@.register_forward_hook(lambda m, a, r: r * $)", "m@.register_forward_pre_hook(lambda m, a: (a[0] + $,))",
       "hook@ = m@.register_forward_hook(count@)",
       "hook@ = next(m@.parameters()).register_hook(lambda g: g * count@.factor)", "count@.factor = $",
       "m@.forward = lambda h: h * $", "vars(m@).pop('forward', None)",
       "hook@.remove()", "m@.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,) if gi[0] is not None else None)",
       "m@.apply(lambda m: m.eval())",
       "next(m@.parameters()).grad = ng.ones_like(next(m@.parameters()))", "m@.register_buffer('added', ng.ones(4))",
       "p = list(m@.parameters())[-1]\np.data = ng.ones_like(p) * 0.1",
       "hook@ = m@.register_forward_hook(lambda m, a, r: count@(), always_call=True)",
       "m@.register_forward_hook(lambda m, a, k, r: r + 1, with_kwargs=True)"]
BODY = ["h = m@(h)", "h = m@(h) + h", "h = h + sum((p * p).sum() for p in m@.parameters())", "h = F.relu(m@(h))",
    "for p in m@.parameters():\n    h = h + p.detach().mean()",
        "if m@.training:\n    h = h * 2", "m@.train(not m@.training)", "h = h * len(list(m@.parameters()))",
        "for n, p in m@.named_parameters():\n    if 'weight' in n:\n        h = h + p.sum()",
        "for a in m@.modules():\n    if isinstance(a, nn.Linear):\n        h = h + a.weight.mean()",
        "with ng.no_grad():\n    for p in m@.parameters():\n        p.mul_(0.99)",
        "for p in m@.parameters():\n    p.data.clamp_(-1, 1)", "m@.eval()\nh = m@(h)\nm@.train()",
        "h.register_hook(lambda g: g * s) if h.requires_grad else None", "h = m@(h.detach())",
        "m@(h).sum().backward() if ng.is_grad_enabled() and any(p.requires_grad for p in m@.parameters()) else None",
        "m@.zero_grad()", "count@()", "h = h * count@.factor", "h = h + count@.n",
        "out.append([p.grad.clone() if p.grad is not None else None for p in m@.parameters()])",
        "for b in m@.buffers():\n    h = h + b.mean()", "h = h + len(m@.state_dict())",
        "v = m@.register_forward_hook(lambda m, a, r: r * 2)\nh = m@(h)\nv.remove()",
        "h = checkpoint(m@, h, use_reentrant=False)", "h = h * (next(m@.parameters()).grad is None)"]
OPTIMIZERS = ["ng.optim.SGD(model.parameters(), lr=0.1)", "ng.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
    "ng.optim.Adam(model.parameters(), lr=0.01)",
              "ng.optim.SGD([{'params': list(model.parameters())[:1], 'lr': 0.2}, "
              "{'params': list(model.parameters())[1:]}], lr=0.1, weight_decay=0.01)",
              "ng.optim.AdamW(model.parameters(), lr=0.01)", "ng.optim.RMSprop(model.parameters(), lr=0.01)"]
SCHEDULERS = ["ng.optim.lr_scheduler.StepLR(opt, 2, 0.5)", "ng.optim.lr_scheduler.LambdaLR(opt, lambda e: 1 / (1 + e))",
    "ng.optim.lr_scheduler.CosineAnnealingLR(opt, 5)"]
LOSSES = ["loss = (h * h).mean()", "loss = F.mse_loss(h, x.detach())", "loss = F.cross_entropy(h, y)",
    "loss = h.sum() * 0.1 + s", "loss = (h.sigmoid() - 0.5).abs().sum()",
          "loss = h.logsumexp(1).mean() * (1 + abs(s))"]
STEPS = ["opt.zero_grad()\n{loss}\nloss.backward()\nopt.step()",
    "{loss}\nloss.backward()\nopt.step()\nopt.zero_grad(set_to_none=False)", "{loss}\nloss.backward()",
         "model.zero_grad()\n{loss}\nloss.backward()\nng.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\nopt.step()",
         "{loss}\n(loss / 2).backward()\nticks.n += 1\nif ticks.n % 2 == 0:\n    opt.step()\n    opt.zero_grad()",
         "{loss}\ngrads = ng.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)\n"
         "with ng.no_grad():\n"
         "    for p, g in zip([p for p in model.parameters() if p.requires_grad], grads):\n"
         "        if g is not None:\n            p -= 0.1 * g",
         "opt.zero_grad()\n{loss}\nloss.backward()\nopt.step()\nsched.step()",
         "def closure():\n    opt.zero_grad()\n    {loss}\n    loss.backward()\n    return loss\nloss = opt.step(closure)",
         "for p in model.parameters():\n    p.grad = None\n{loss}\nloss.backward()\n"
         "for p in model.parameters():\n    if p.grad is not None:\n        p.grad.clamp_(-0.1, 0.1)\nopt.step()",
         "opt.zero_grad()\n{loss}\nloss.backward()\nfor g in opt.param_groups:\n    g['lr'] = g['lr'] * 0.9\n"
         "opt.step()\nout.append(opt.param_groups[0]['lr'])"]
TRAINING = ["opt.param_groups[0]['lr'] *= 0.5", "opt.param_groups[0]['lr'] = $", "sched.step()", "opt.state.clear()",
    "opt.load_state_dict(copy.deepcopy(opt.state_dict()))",
            "opt.param_groups[0]['weight_decay'] = 0.1", "opt.add_param_group({'params': [nn.Parameter(ng.ones(4))]})",
            "opt.zero_grad()", "opt.zero_grad(set_to_none=False)",
            "opt.register_step_post_hook(lambda o, a, k: setattr(ticks, 'hooked', ticks.hooked + 1))",
            "opt.register_step_pre_hook(lambda o, a, k: setattr(ticks, 'hooked', 3))",
            "opt = {opt}", "opt.param_groups[0]['momentum'] = 0.5 if 'momentum' in opt.param_groups[0] else None",
            "ticks.n = 0", "opt.param_groups.reverse()",
            "opt.param_groups[0]['params'].pop() if len(opt.param_groups[0]['params']) > 1 else None",
            "opt.step = lambda closure=None: None", "opt.param_groups[0]['maximize'] = True",
            "opt.param_groups[0]['lr'] = ng.tensor(0.05)", "opt.state_dict()",
            "model.load_state_dict({n: v * 0.5 for n, v in model.state_dict().items()})", "model.zero_grad()"]


def module(text):
    """The piece of a module."""
    more = NETS if "Net@" in text and "Seq" not in text or "Child@" in text else SEQUENTIAL if "Sequential" in text else []
    return Piece(BODY, ANY + more * 2,
            f"m@, count@ = {text}, Count@()\nhook@ = m@.register_forward_hook(lambda m, a, r: None)", TOP)
