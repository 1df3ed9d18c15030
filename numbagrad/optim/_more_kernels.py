"""Update loops of the less common optimizers; see ``_kernels.py`` for how they are called.

Arrays are (n,), step (1,) is the float32 number of steps so far.
"""

from ..kernel.jit import T, sqrt
from ._kernels import table


@table(7)
def rmsprop(
    p: "*T", g: "*T", square: "*T", buf: "*T", mean: "*T", step: "*f4", n: int,
    lr: float, alpha: float, eps: float, weight_decay: float, momentum: float, centered: int, maximize: int,
):  # fmt: skip
    """square is the running mean of g**2 (minus mean**2 when ``centered``); p -= lr * g / (sqrt(square) + eps), through the
    momentum buffer buf where there is one; step counts."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    rate, small, decay, keep, new = T(lr), T(eps), T(weight_decay), T(alpha), T(1.0 - alpha)
    keep_buf = T(momentum)
    for i in range(n):
        d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
        s = keep * square[i] + new * d * d
        square[i] = s
        if centered:
            m = mean[i] + new * (d - mean[i])
            mean[i] = m
            s -= m * m
        d = d / (sqrt(s) + small)
        if momentum > 0.0:
            d = keep_buf * buf[i] + d
            buf[i] = d
        p[i] -= rate * d


@table(5)
def adagrad(
    p: "*T", g: "*T", total: "*T", step: "*f4", n: int,
    lr: float, lr_decay: float, eps: float, weight_decay: float, maximize: int,
):  # fmt: skip
    """total is the sum of g**2; p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(total) + eps)."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    rate, small, decay = T(lr / (1.0 + (step[0] - 1.0) * lr_decay)), T(eps), T(weight_decay)
    for i in range(n):
        d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
        s = total[i] + d * d
        total[i] = s
        p[i] -= rate * (d / (sqrt(s) + small))


@table(6)
def adamax(
    p: "*T", g: "*T", m: "*T", largest: "*T", step: "*f4", n: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, maximize: int,
):  # fmt: skip
    """largest = max(beta2 * largest, |g| + eps); p -= lr / (1 - beta1**step) * m / largest."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    rate, small, decay = T(lr / (1.0 - beta1 ** step[0])), T(eps), T(weight_decay)
    new, keep = T(1.0 - beta1), T(beta2)
    for i in range(n):
        d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
        mean = m[i] + new * (d - m[i])
        old, size = keep * largest[i], abs(d) + small
        # NaN must win, as in torch.maximum.
        top = old if old > size or old != old else size
        m[i] = mean
        largest[i] = top
        p[i] -= rate * (mean / top)


@table(7)
def nadam(
    p: "*T", g: "*T", m: "*T", v: "*T", product: "*f4", step: "*f4", n: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, momentum_decay: float, decoupled: int,
    maximize: int,
):  # fmt: skip
    """Adam with Nesterov's look ahead from g, m and v to p: mu = beta1 * (1 - 0.96**(step * momentum_decay) / 2), float32
    product (1,) is that of all mu so far."""
    step[0] += 1
    t = step[0]
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))
    following = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * momentum_decay))
    product[0] *= mu
    so_far = float(product[0])
    of_g, of_m = T(lr * (1.0 - mu) / (1.0 - so_far)), T(lr * following / (1.0 - so_far * following))
    sign = T(-1.0) if maximize else T(1.0)
    correct2, small = T(1.0 - beta2**t), T(eps)
    new1, keep2, new2 = T(1.0 - beta1), T(beta2), T(1.0 - beta2)
    decay = T(0.0) if decoupled else T(weight_decay)
    shrink = T(1.0 - lr * weight_decay) if decoupled else T(1.0)
    for i in range(n):
        x = p[i] * shrink
        d = sign * g[i] + (decay * x if weight_decay != 0.0 else T(0.0))
        mean = m[i] + new1 * (d - m[i])
        square = keep2 * v[i] + new2 * d * d
        m[i] = mean
        v[i] = square
        size = sqrt(square / correct2) + small
        p[i] = x - of_g * (d / size) - of_m * (mean / size)


@table(6)
def radam(
    p: "*T", g: "*T", m: "*T", v: "*T", step: "*f4", n: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: int, maximize: int,
):  # fmt: skip
    """Adam from g and m to p whose scaling by sqrt(v) begins at the step when its variance is tractable (rho > 5), and is
    rectified by it."""
    step[0] += 1
    t = step[0]
    correct1, correct2 = 1.0 - beta1**t, 1.0 - beta2**t
    limit = 2.0 / (1.0 - beta2) - 1.0
    rho = limit - 2.0 * t * beta2**t / correct2
    adaptive = rho > 5.0
    rectified = 1.0
    if adaptive:
        rectified = ((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho)) ** 0.5 * correct2**0.5
    sign = T(-1.0) if maximize else T(1.0)
    rate, small = T(lr / correct1 * rectified), T(eps)
    new1, keep2, new2 = T(1.0 - beta1), T(beta2), T(1.0 - beta2)
    decay = T(0.0) if decoupled else T(weight_decay)
    shrink = T(1.0 - lr * weight_decay) if decoupled else T(1.0)
    for i in range(n):
        x = p[i] * shrink
        d = sign * g[i] + (decay * x if weight_decay != 0.0 else T(0.0))
        mean = m[i] + new1 * (d - m[i])
        square = keep2 * v[i] + new2 * d * d
        m[i] = mean
        v[i] = square
        p[i] = x - rate * (mean / (sqrt(square) + small) if adaptive else mean)


@table(6)
def adadelta(
    p: "*T", g: "*T", square: "*T", moved: "*T", step: "*f4", n: int,
    lr: float, rho: float, eps: float, weight_decay: float, maximize: int,
):  # fmt: skip
    """d = g * sqrt(moved + eps) / sqrt(square + eps) with running means of d**2 and g**2; p -= lr * d; step
    counts."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    rate, small, decay, keep, new = T(lr), T(eps), T(weight_decay), T(rho), T(1.0 - rho)
    for i in range(n):
        d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
        s = keep * square[i] + new * d * d
        square[i] = s
        d = sqrt(moved[i] + small) / sqrt(s + small) * d
        moved[i] = keep * moved[i] + new * d * d
        p[i] -= rate * d
