"""Tables of torchinfo: sizes, parameters, multiply-adds of layers of many kinds."""

import torch
from torch import nn
from torchinfo import summary

torch.manual_seed(0)
ALL = ("input_size", "output_size", "kernel_size", "num_params", "params_percent", "mult_adds", "trainable")
net = nn.Sequential(nn.Conv2d(1, 8, 3, groups=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                    nn.Conv2d(8, 16, 3, groups=2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10))
net[1].weight.requires_grad_(False)
print(summary(net, (4, 1, 14, 14), verbose=0, col_names=ALL, row_settings=("depth", "ascii_only", "var_names")))
print(summary(nn.Transformer(8, 2, 1, 1, 16), [(3, 1, 8), (3, 1, 8)], verbose=0, depth=4))
for cell in (nn.LSTM, nn.GRU, nn.RNN):
    print(summary(cell(6, 4, num_layers=2, bidirectional=True), input_data=torch.randn(5, 2, 6), verbose=0, col_names=ALL))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.parts = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Sequential(nn.Linear(6, 6), nn.GELU())})
        self.scale, self.bags = nn.Parameter(torch.ones(6)), nn.ParameterList([nn.Parameter(torch.ones(2, 3))])
        self.never = nn.Linear(3, 3)

    def forward(self, x, part="a"):
        y = self.words(x) * self.scale
        return {"y": self.parts[part](self.parts["a"](y)), "z": (y, y.sum())}


print(summary(Model(), input_data=torch.zeros(2, 3, dtype=torch.long), verbose=0, col_names=ALL, part="b"))
print(summary(Model(), (2, 3), dtypes=[torch.long], verbose=0, depth=1, cache_forward_pass=True))
print(summary(Model(), verbose=0))
found = summary(net.double(), (1, 1, 14, 14), dtypes=[torch.float64], verbose=0)
print(found.total_params, found.trainable_params, found.total_mult_adds, found.total_input, found.total_output_bytes,
      found.total_param_bytes, [(str(row), row.output_size) for row in found.summary_list])
try:
    summary(net, (4, 2, 14, 14), verbose=0)
except RuntimeError as e:
    print(e)
