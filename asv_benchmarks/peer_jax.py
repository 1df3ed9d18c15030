"""The training cases of ``peers.py`` for JAX (``jax.jit`` of the whole step), where it is installed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

CASES = {}


def case(fn):
    CASES[fn.__name__] = fn
    return fn


def _normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def _sgd_step(loss, params):
    momentum = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def step(params, momentum, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        params = jax.tree.map(lambda p, m: p - 0.01 * m, params, momentum)
        return params, momentum, value
    return step, momentum


def _mlp(batch, sizes):
    params = [(_normal((a, b), i) / a**0.5, np.zeros(b, "float32")) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))]
    params = jax.tree.map(jnp.asarray, params)
    x = jnp.asarray(_normal((batch, sizes[0]), 0))
    y = jnp.asarray(np.random.default_rng(3).integers(0, sizes[-1], batch))

    def loss(params, x, y):
        for i, (w, b) in enumerate(params):
            x = x @ w + b
            if i < len(params) - 1:
                x = jax.nn.relu(x)
        return -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(batch), y])
    step, momentum = _sgd_step(loss, params)
    state = [params, momentum]

    def run():
        state[0], state[1], value = step(state[0], state[1], x, y)
        value.block_until_ready()
    return run


@case
def mlp_32x64x64x10():
    return _mlp(32, (64, 64, 10))


@case
def mlp_128x784x256x10():
    return _mlp(128, (784, 256, 10))


@case
def logistic_200x2():
    params = (jnp.asarray(_normal((2, 1), 0)), jnp.zeros(1))
    x = jnp.asarray(_normal((200, 2), 0))
    y = (x[:, 0] > 0).astype("float32")

    def loss(params, x, y):
        p = jax.nn.sigmoid(x @ params[0] + params[1])[:, 0]
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))
    step, momentum = _sgd_step(loss, params)
    state = [params, momentum]

    def run():
        state[0], state[1], value = step(state[0], state[1], x, y)
        value.block_until_ready()
    return run
