"""The steps in JAX: one ``jax.jit`` with donated state, gradients by ``value_and_grad``, updates written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .specs import GPT, SPECS

LOSSES = {}


def loss_of(*names, momentum=None, rate=1e-3, decay=0.0):
    """Register ``fn(params, *batch)`` with the optimizer of its steps: SGD where there is ``momentum``, else Adam."""
    def register(fn):
        for n in names:
            LOSSES[n] = fn, momentum, rate, decay
        return fn
    return register


def linear(p, name, x):
    y = x @ p[name + ".weight"]
    return y + p[name + ".bias"] if name + ".bias" in p else y


def cross_entropy(logits, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


@loss_of("mlp_32x64x64x10", "mlp_128x784x256x10", "mlp_256x1024x1024x1024x10", momentum=0.9, rate=0.01)
def mlp(p, x, y):
    last = len(p) // 2 - 1
    for i in range(last + 1):
        x = linear(p, str(2 * i), x)
        if i < last:
            x = jax.nn.relu(x)
    return cross_entropy(x, y)


@loss_of("logistic_200x2", momentum=0.9, rate=0.01)
def logistic(p, x, y):
    q = jax.nn.sigmoid(linear(p, "0", x))[:, 0]
    return -jnp.mean(y * jnp.maximum(jnp.log(q), -100) + (1 - y) * jnp.maximum(jnp.log1p(-q), -100))


@loss_of("pinn_256x1x32x32x1")
def pinn(p, x, f):
    def u(x):
        return linear(p, "4", jnp.tanh(linear(p, "2", jnp.tanh(linear(p, "0", x)))))

    def du(x):
        return jax.jvp(u, (x,), (jnp.ones_like(x),))
    (u0, _), (_, d2u) = jax.jvp(du, (x,), (jnp.ones_like(x),))
    return jnp.mean((d2u + u0 - f) ** 2)


def layer_norm(p, name, x):
    mean = x.mean(-1, keepdims=True)
    var = jnp.mean((x - mean) ** 2, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[name + ".weight"] + p[name + ".bias"]


@loss_of("gpt", rate=3e-4, decay=0.01)
def gpt(p, tokens, following):
    d, heads, vocabulary = GPT["width"], GPT["heads"], GPT["vocabulary"]
    b, t = tokens.shape
    x = p["embed.weight"][tokens] + p["embed_position.weight"]
    past = jnp.tril(jnp.ones((t, t), bool))
    for i in range(GPT["layers"]):
        at = f"blocks.{i}."
        q, k, v = jnp.split(linear(p, at + "qkv", layer_norm(p, at + "first_norm", x)), 3, -1)
        q, k, v = [z.reshape(b, t, heads, d // heads).transpose(0, 2, 1, 3) for z in (q, k, v)]
        scores = (q @ k.swapaxes(2, 3)) * (d // heads) ** -0.5
        y = jax.nn.softmax(jnp.where(past, scores, -jnp.inf), -1) @ v
        x = x + linear(p, at + "project", y.transpose(0, 2, 1, 3).reshape(b, t, d))
        hidden = jax.nn.gelu(linear(p, at + "widen", layer_norm(p, at + "second_norm", x)), approximate=False)
        x = x + linear(p, at + "narrow", hidden)
    logits = linear(p, "head", layer_norm(p, "last_norm", x))
    return cross_entropy(logits.reshape(-1, vocabulary), following.reshape(-1))


def batch_norm(p, running, name, x):
    """In training: NHWC, statistics over all but channels, running statistics with the unbiased variance."""
    mean = x.mean((0, 1, 2))
    var = jnp.mean((x - mean) ** 2, (0, 1, 2))
    n = x.size // x.shape[-1]
    old = running[name]
    running[name] = (0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * var * (n / (n - 1)))
    return (x - mean) * (jax.lax.rsqrt(var + 1e-5) * p[name + ".weight"]) + p[name + ".bias"]


def pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@loss_of("conv_64x1x28x28")
def conv(p, running, x, y):
    # Channels last: what XLA's convolutions on CPUs are fastest in.
    running = dict(running)
    for i, norm in ((1, "first_norm"), (2, "second_norm")):
        x = jax.lax.conv_general_dilated(x, p[f"conv{i}.weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = pool(jax.nn.relu(batch_norm(p, running, norm, x + p[f"conv{i}.bias"])))
    return cross_entropy(linear(p, "head", x.reshape(x.shape[0], -1)), y), running


@loss_of("lstm_64x128_32x32")
def lstm(p, x, y):
    # The inputs' share of all gates at once, as cuDNN and oneDNN do it.
    gates = x @ p["lstm.weight_ih_l0"] + (p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"])
    zero = jnp.zeros((x.shape[1], 128))

    def cell(state, g):
        h, c = state
        i, f, u, o = jnp.split(g + h @ p["lstm.weight_hh_l0"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), None
    (h, _), _ = jax.lax.scan(cell, (zero, zero), gates)
    return cross_entropy(linear(p, "head", h), y)


def sgd(p, g, state, momentum, rate):
    state = jax.tree.map(lambda m, d: momentum * m + d, state, g)
    return jax.tree.map(lambda w, m: w - rate * m, p, state), state


def adam(p, g, state, rate, decay):
    first, second, t = state
    t = t + 1
    first = jax.tree.map(lambda m, d: 0.9 * m + 0.1 * d, first, g)
    second = jax.tree.map(lambda v, d: 0.999 * v + 0.001 * d * d, second, g)
    size, root = rate / (1 - 0.9**t), (1 - 0.999**t) ** 0.5
    p = jax.tree.map(lambda w, m, v: w * (1 - rate * decay) - size * m / (jnp.sqrt(v) / root + 1e-8), p, first, second)
    return p, (first, second, t)


def layout(name, value):
    """A parameter as JAX code holds it: inputs before outputs, channels last."""
    if name.startswith("conv") and value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if name == "head.weight" and value.shape[1] == 16 * 49:
        return value.reshape(10, 16, 49).transpose(2, 1, 0).reshape(-1, 10)
    return value.T if value.ndim == 2 and "embed" not in name else value


def build(name):
    """``step()``: one update of the state held inside; it returns the loss, which may still be computing."""
    spec, (loss, momentum, rate, decay) = SPECS[name], LOSSES[name]
    p = {n: jnp.array(np.ascontiguousarray(layout(n, v))) for n, v in spec.parameters().items()}
    zeros = {n: jnp.zeros_like(v) for n, v in p.items()}
    state = zeros if momentum is not None else (zeros, {n: jnp.zeros_like(v) for n, v in p.items()}, jnp.float32(0))
    batch = [jnp.array(a.transpose(0, 2, 3, 1) if a.ndim == 4 else a) for a in spec.data()]
    running = {n: (jnp.zeros(c), jnp.ones(c)) for n, c in (("first_norm", 8), ("second_norm", 16))}
    extra = [running] if name.startswith("conv") else []

    def update(p, state, extra, *batch):
        value, g = jax.value_and_grad(loss, has_aux=bool(extra))(p, *extra, *batch)
        if extra:
            value, running = value
            extra = [running]
        if momentum is not None:
            p, state = sgd(p, g, state, momentum, rate)
        else:
            p, state = adam(p, g, state, rate, decay)
        return p, state, extra, value
    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    held = [p, state, extra]

    def step():
        held[0], held[1], held[2], value = compiled(held[0], held[1], held[2], *batch)
        return value
    return step
