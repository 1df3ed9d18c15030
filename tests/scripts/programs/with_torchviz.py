"""Graphs of torchviz as text in the language of graphviz, with nodes numbered in their order.

Functions of which numbagrad makes one node and PyTorch several (``nn.Linear``, gradients of products, recurrent cells) are left
out."""

import re

import torch
from torch import nn
from torchviz import make_dot

torch.manual_seed(0)


def plain(dot):
    order = {}
    return re.sub(r"\b\d{7,}\b", lambda m: str(order.setdefault(m[0], len(order))), dot.source)


x, w, b = (torch.randn(*shape, requires_grad=True) for shape in ((2, 8), (8, 4), (4,)))
print(plain(make_dot((torch.tanh(x @ w + b) ** 2).mean(), params={"x": x, "w": w, "b": b})))
y = torch.exp(x * x).mean()
slope, = torch.autograd.grad(y, x, create_graph=True)
print(plain(make_dot(slope.pow(2).mean() + y, params={"x": x})))
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
out = net(torch.randn(2, 1, 8, 8))
print(plain(make_dot(nn.functional.log_softmax(out, 1).mean(), params=dict(net.named_parameters()))))
print(plain(make_dot((out[:, 1:3], out.sum(0, keepdim=True).expand(2, -1).contiguous()), params=dict(net.named_parameters()))))
