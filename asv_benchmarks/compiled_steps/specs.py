"""What the steps compute: shapes, initial parameters and data as NumPy arrays, equal in every library, and their floor.

Parameters have PyTorch's names and layouts. ``flops`` counts matrix products and convolutions, forward and backward;
``traffic`` is what must move between memory and the core: every parameter with its gradient and the optimizer's state once
in and once out, and the data once in.
"""

from __future__ import annotations

import numpy as np

SPECS = {}


class Spec:
    """One step: ``limit`` is the ratio to reach, ``slots`` how many arrays the optimizer keeps for each parameter."""

    def __init__(self, name, limit, slots, shapes, batch, flops):
        self.name, self.limit, self.slots, self.shapes, self.batch, self.flops = name, limit, slots, shapes, batch, flops
        SPECS[name] = self

    def parameters(self):
        """{name: float32 array}: normal with variance 1 / fan-in; biases zero, scales one."""
        rng, out = np.random.default_rng(0), {}
        for name, shape in self.shapes.items():
            if len(shape) > 1:
                fan_in = 2500 if "embed" in name else int(np.prod(shape[1:]))
                value = rng.standard_normal(shape) / fan_in**0.5
            else:
                value = np.ones(shape) if name.endswith("norm.weight") else np.zeros(shape)
            out[name] = value.astype("float32")
        return out

    def data(self):
        """The arguments of the step."""
        return self.batch(np.random.default_rng(1))

    def traffic(self):
        count = sum([int(np.prod(s)) for s in self.shapes.values()])
        return 4 * count * (2 + 2 * self.slots) + sum([a.nbytes for a in self.data()])


def normal(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def mlp(name, limit, rows, *sizes):
    shapes, pairs = {}, list(zip(sizes, sizes[1:]))
    for i, (a, b) in enumerate(pairs):
        shapes[f"{2 * i}.weight"], shapes[f"{2 * i}.bias"] = (b, a), (b,)
    # Forward, weight gradient and, but for the first layer, input gradient.
    flops = sum([2 * rows * a * b * (2 if i == 0 else 3) for i, (a, b) in enumerate(pairs)])
    Spec(name, limit, 1, shapes, lambda rng: (normal(rng, rows, sizes[0]), rng.integers(0, sizes[-1], rows)), flops)


def logistic_data(rng):
    x = normal(rng, 200, 2)
    return x, (x[:, 0] > 0).astype("float32")


def pinn_data(rng):
    x = rng.uniform(-1, 1, (256, 1)).astype("float32")
    return x, np.sin(3 * x)


GPT = {"layers": 4, "width": 128, "heads": 4, "batch": 16, "length": 64, "vocabulary": 256}


def gpt():
    d, v, n = GPT["width"], GPT["vocabulary"], GPT["batch"] * GPT["length"]
    shapes = {"embed.weight": (v, d), "embed_position.weight": (GPT["length"], d)}
    for i in range(GPT["layers"]):
        for part, out, into in (("qkv", 3 * d, d), ("project", d, d), ("widen", 4 * d, d), ("narrow", d, 4 * d)):
            shapes[f"blocks.{i}.{part}.weight"], shapes[f"blocks.{i}.{part}.bias"] = (out, into), (out,)
        for part in ("first_norm", "second_norm"):
            shapes[f"blocks.{i}.{part}.weight"] = shapes[f"blocks.{i}.{part}.bias"] = (d,)
    shapes["last_norm.weight"] = shapes["last_norm.bias"] = (d,)
    shapes["head.weight"] = (v, d)
    linear = GPT["layers"] * 12 * d * d + v * d
    # Scores and their products with the values, over all pairs of positions.
    attention = GPT["layers"] * 2 * 2 * n * GPT["length"] * d

    def data(rng):
        text = rng.integers(0, v, (GPT["batch"], GPT["length"] + 1))
        return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    Spec("gpt", 0.45, 2, shapes, data, 3 * (2 * n * linear + attention))


def conv():
    c1, c2, rows = 8, 16, 64
    shapes = {"conv1.weight": (c1, 1, 3, 3), "conv1.bias": (c1,), "first_norm.weight": (c1,), "first_norm.bias": (c1,),
              "conv2.weight": (c2, c1, 3, 3), "conv2.bias": (c2,), "second_norm.weight": (c2,),
              "second_norm.bias": (c2,), "head.weight": (10, c2 * 49), "head.bias": (10,)}
    flops = 2 * rows * (2 * 784 * 9 * c1 + 3 * 196 * 9 * c1 * c2 + 3 * 490 * c2)
    Spec("conv_64x1x28x28", 0.55, 2, shapes,
         lambda rng: (normal(rng, rows, 1, 28, 28), rng.integers(0, 10, rows)), flops)


def lstm():
    into, hidden, steps, rows = 64, 128, 32, 32
    shapes = {"lstm.weight_ih_l0": (4 * hidden, into), "lstm.weight_hh_l0": (4 * hidden, hidden),
              "lstm.bias_ih_l0": (4 * hidden,), "lstm.bias_hh_l0": (4 * hidden,),
              "head.weight": (10, hidden), "head.bias": (10,)}
    flops = 2 * rows * steps * 4 * hidden * (2 * into + 3 * hidden) + 6 * rows * 10 * hidden
    Spec("lstm_64x128_32x32", 0.50, 2, shapes,
         lambda rng: (normal(rng, steps, rows, into), rng.integers(0, 10, rows)), flops)


mlp("mlp_32x64x64x10", 0.45, 32, 64, 64, 10)
Spec("logistic_200x2", 0.40, 1, {"0.weight": (1, 2), "0.bias": (1,)}, logistic_data, 2 * 200 * 2 * 2)
mlp("mlp_128x784x256x10", 0.85, 128, 784, 256, 10)
mlp("mlp_256x1024x1024x1024x10", 0.90, 256, 1024, 1024, 1024, 10)
# The second derivative doubles what is propagated forward twice over; its gradient takes twice that again.
Spec("pinn_256x1x32x32x1", 0.50, 2, {"0.weight": (32, 1), "0.bias": (32,), "2.weight": (32, 32), "2.bias": (32,),
                                     "4.weight": (1, 32), "4.bias": (1,)}, pinn_data, 2 * 256 * 1088 * 9)
gpt()
conv()
lstm()
