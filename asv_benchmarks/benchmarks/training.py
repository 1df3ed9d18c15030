"""Whole training steps, and their peak memory."""

from __future__ import annotations

import numpy as np

import numbagrad as ng
from numbagrad import nn


def conv_net():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(16 * 7 * 7, 10))


def mlp(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


STEPS = {
    "mlp_32x64x64x10": (lambda: mlp(64, 64, 10), (32, 64), ng.optim.SGD),
    "mlp_128x784x256x10": (lambda: mlp(784, 256, 10), (128, 784), ng.optim.SGD),
    "conv_64x1x28x28": (conv_net, (64, 1, 28, 28), ng.optim.Adam),
}


class Training:
    params = [list(STEPS), [1, 2]]
    param_names = ["step", "threads"]

    def setup(self, name, threads):
        ng.set_num_threads(threads)
        ng.manual_seed(0)
        make, shape, optimizer = STEPS[name]
        self.model = make()
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        rng = np.random.default_rng(0)
        self.x = ng.tensor(rng.standard_normal(shape).astype("float32"))
        self.y = ng.tensor(rng.integers(0, 10, shape[0]))
        self.loss = nn.CrossEntropyLoss()
        self.time_step(name, threads)

    def time_step(self, name, threads):
        self.optimizer.zero_grad()
        self.loss(self.model(self.x), self.y).backward()
        self.optimizer.step()

    def peakmem_steps(self, name, threads):
        for _ in range(20):
            self.time_step(name, threads)
