"""The work list of ``python -m numbagrad warmup``: common ops forward and backward, and small training steps."""

from __future__ import annotations

import functools

from .op.record import REGISTRY
from .op.sampling import Case, flat

# Families (files of ops/) that nearly every training script touches; the others with --all.
COMMON = ("activation", "addmm", "compare", "conv", "copy", "cross_entropy", "dropout", "elementwise", "embedding",
          "extremum", "join", "layer_norm", "linear", "logic", "loss", "matmul", "mask", "norm", "pool", "random", "reduce",
          "softmax", "sort")


def jobs(dtypes, everything=False):
    """[(name, function that compiles it)] for the given floating dtypes."""
    out = []
    for dtype in dtypes:
        out += [(f"{name} {dtype}", functools.partial(_op, op, dtype)) for name, op in REGISTRY.items()
                if op.samples and (everything or op.family in COMMON)]
        out += [(f"{make.__name__}, {optimizer} {dtype}", functools.partial(_train, make, optimizer, dtype))
                for make in MODELS for optimizer in OPTIMIZERS]
    return out


def _op(op, dtype):
    for index in range(len(op.samples)):
        case = Case(op, index)
        for out in flat(case.call(case.tensors(dtype, op.differentiable))):
            if out.requires_grad and out.numel():
                out.backward(out.detach().clone(), retain_graph=True)


def perceptron(nn):
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4)), (12, 8)


def convolutional(nn):
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(4 * 4 * 4, 4)), (12, 1, 8, 8)


MODELS = (perceptron, convolutional)
OPTIMIZERS = {"SGD": {"lr": 0.1}, "SGD with momentum": {"lr": 0.1, "momentum": 0.9}, "Adam": {}, "AdamW": {}}


def _train(make, optimizer, dtype):
    """Two steps of a small network, and its evaluation."""
    import numbagrad as ng
    with ng.random.fork_rng():
        model, shape = make(ng.nn)
        model.to(getattr(ng, dtype))
        x, y = ng.randn(shape).to(getattr(ng, dtype)), ng.randint(0, 4, shape[:1])
        rule = getattr(ng.optim, optimizer.split()[0])(model.parameters(), **OPTIMIZERS[optimizer])
        for _ in range(2):
            rule.zero_grad()
            loss = ng.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            rule.step()
            loss.item()
        model.eval()
        with ng.no_grad():
            (model(x).argmax(1) == y).float().mean().item()
