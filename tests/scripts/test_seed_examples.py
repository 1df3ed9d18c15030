"""The worked examples of the contract, with the text that PyTorch prints."""

import math

import numpy as np
from parity import agrees
from parity import torch as oracle
from seed_helpers import make_relu, printed

import numbagrad as ng

# --- the worked examples ----------------------------------------------------------------------------------------------

def linear_regression(T, steps=500):
    """Linear regression by hand: x.mm(w) + b, half squared error, gradients by backward, updates through data."""
    T.manual_seed(1000)
    x = T.rand(8, 1) * 5
    y = x * 2 + 3 + T.randn(8, 1)
    w, b = T.rand(1, 1, requires_grad=True), T.zeros(1, 1, requires_grad=True)
    losses = []
    for _ in range(steps):
        y_pred = x.mm(w) + b.expand_as(y)
        loss = (0.5 * (y_pred - y)**2).sum()
        losses.append(loss.item())
        loss.backward()
        w.data.sub_(0.005 * w.grad.data)
        b.data.sub_(0.005 * b.grad.data)
        w.grad.data.zero_()
        b.grad.data.zero_()
    return losses, w.item(), b.item()


def two_layer_net(T, steps=500, n=64, d_in=1000, h=100, d_out=10):
    """The network of two layers with its own ReLU."""
    T.manual_seed(0)
    relu = make_relu(T).apply
    x, y = T.randn(n, d_in), T.randn(n, d_out)
    w1, w2 = T.randn(d_in, h, requires_grad=True), T.randn(h, d_out, requires_grad=True)
    losses = []
    for _ in range(steps):
        loss = (relu(x.mm(w1)).mm(w2) - y).pow(2).sum()
        losses.append(loss.item())
        loss.backward()
        with T.no_grad():
            w1 -= 1e-6 * w1.grad
            w2 -= 1e-6 * w2.grad
            w1.grad.zero_()
            w2.grad.zero_()
    return losses


def logistic_regression(T):
    """Two Gaussian clouds; stops when more than 99 % are right."""
    T.manual_seed(1)
    n = T.ones(100, 2)
    x0, x1 = T.normal(1.7 * n, 1) + 1, T.normal(-1.7 * n, 1) + 1
    train_x, train_y = T.cat([x0, x1], 0), T.cat([T.zeros(100), T.ones(100)], 0)

    class LR(T.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = T.nn.Linear(2, 1)
            self.sigmoid = T.nn.Sigmoid()

        def forward(self, x):
            return self.sigmoid(self.features(x))
    net, loss_fn = LR(), T.nn.BCELoss()
    optimizer = T.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    history = []
    for iteration in range(1000):
        y_pred = net(train_x)
        loss = loss_fn(y_pred.squeeze(), train_y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if iteration % 20 == 0:
            mask = y_pred.ge(0.5).float().squeeze()
            acc = (mask == train_y).sum().item() / train_y.size(0)
            w0, w1 = net.features.weight[0]
            w0, w1, b = float(w0.item()), float(w1.item()), float(net.features.bias[0].item())
            line = (-w0 * np.arange(-6, 6, 0.1) - b) / w1
            history.append((iteration, loss.data.numpy().item(), acc, w0, w1, b, line[0].item()))
            if acc > 0.99:
                break
    return history


def test_linear_regression():
    losses, w, b = linear_regression(ng)
    assert losses[-1] < losses[0] / 10 and 1.5 < w < 2.5 and 1.5 < b < 4.5
    if oracle():
        theirs, tw, tb = linear_regression(oracle())
        np.testing.assert_allclose(losses, theirs, rtol=1e-4)
        np.testing.assert_allclose((w, b), (tw, tb), rtol=1e-5)


def test_two_layer_net():
    losses = two_layer_net(ng)
    assert losses[0] > 1e6 and losses[-1] < 1e-2 * losses[0] and losses[-1] < 1e-3
    if oracle():
        theirs = two_layer_net(oracle(), 20)
        # Sums of 64 000 terms in another order, amplified by each step.
        np.testing.assert_allclose(losses[:20], theirs, rtol=1e-3)


def test_logistic_regression():
    history = logistic_regression(ng)
    assert history[-1][2] > 0.99 and math.isfinite(history[-1][-1])
    if oracle():
        theirs = logistic_regression(oracle())
        assert len(theirs) == len(history)
        np.testing.assert_allclose(history, theirs, rtol=1e-4)


def test_frozen_backbone_with_a_new_head():
    def code(T):
        T.manual_seed(0)

        class Net(T.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = T.nn.Sequential(T.nn.Linear(4, 8), T.nn.ReLU())
                self.fc = T.nn.Linear(8, 5)

            def forward(self, x):
                return self.fc(self.body(x))
        model = Net()
        for param in model.parameters():
            param.requires_grad = False
        model.fc = T.nn.Linear(8, 3)
        optimizer = T.optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)
        print([(n, p.requires_grad) for n, p in model.named_parameters()])
        before = model.body[0].weight.clone()
        x, t = T.randn(6, 4), T.randn(6, 3)
        losses = []
        for _ in range(20):
            loss = T.nn.MSELoss()(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(losses[-1] < losses[0], bool((before == model.body[0].weight).all()), model.body[0].weight.grad)
        print(f"{losses[0]:.4f} {losses[-1]:.4f}")
    text = agrees(printed(code))
    assert ("[('body.0.weight', False), ('body.0.bias', False), ('fc.weight', True), ('fc.bias', True)]\n"
            "True True None") in text
