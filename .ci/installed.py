"""Run README's ten lines and a compiled training step with the numbagrad that is installed; argument: README.md."""

import contextlib
import io
import re
import sys

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn


def ten_lines(readme):
    with open(readme, encoding="utf-8") as f:
        code, shown = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", f.read(), re.S).groups()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    assert said.getvalue() == shown, said.getvalue()


def compiled_step():
    ng.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    opt = ng.optim.Adam(model.parameters(), lr=0.05)
    x, y = ng.randn(32, 8), ng.randint(0, 3, (32,))

    @ng.compile
    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    losses = [step(x, y).item() for _ in range(100)]
    assert losses[-1] < 0.2 * losses[0], losses


ten_lines(sys.argv[1])
compiled_step()
print("installed:", ng.__file__)
