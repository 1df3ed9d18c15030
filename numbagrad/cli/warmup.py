"""The work list of ``python -m numbagrad warmup``: common ops forward and backward, and small training steps."""

from __future__ import annotations

import functools

from .. import autograd
from ..core.registry import REGISTRY
from ..dispatch.sampling import Case, flat

# What most training scripts touch; the whole registry with --all. A test checks that every name exists.
COMMON = """
    add sub rsub mul div pow neg abs square sqrt exp log log1p sin cos tanh sigmoid maximum minimum clamp where
    lt le gt ge eq ne isnan relu leaky_relu elu gelu silu softplus logsigmoid
    sum mean amax max min argmax argmin var std prod any all logsumexp cumsum
    mm matmul bmm mv dot addmm outer linear conv2d max_pool2d avg_pool2d adaptive_avg_pool2d batch_norm layer_norm
    softmax log_softmax cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss binary_cross_entropy
    binary_cross_entropy_with_logits embedding dropout cat stack select slice index_select gather masked_fill tril
    clone sort topk rand randn randint randperm normal bernoulli
""".split()


def jobs(dtypes, everything=False):
    """[(name, function that compiles it)] for the given floating dtypes."""
    out = []
    for dtype in dtypes:
        out += [(f"{name} {dtype}", functools.partial(_op, op, dtype)) for name, op in REGISTRY.items()
                if op.samples and (everything or name in COMMON)]
        out += [(f"{make.__name__}, {optimizer} {dtype}", functools.partial(_train, make, optimizer, dtype))
                for make in MODELS for optimizer in OPTIMIZERS]
    return out


def _op(op, dtype):
    for index in range(len(op.samples)):
        case = Case(op, index)
        out = [t for t in flat(case.call(case.tensors(dtype, op.differentiable))) if t.requires_grad]
        if out:
            autograd.backward(out, [t.detach().clone() for t in out])


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
