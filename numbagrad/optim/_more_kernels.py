"""Update loops of the less common optimizers; see ``_kernels.py`` for how they are called.

Arrays are (n,), step (1,) is the float32 number of steps so far.
"""

from ..kernel.jit import T, accumulate, sqrt
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
    # Loops apart: what a group does without has square's address, and two names for one memory are not vectorised.
    if momentum == 0.0 and not centered:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            s = keep * square[i] + new * d * d
            square[i] = s
            p[i] -= rate * (d / (sqrt(s) + small))
    elif not centered:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            s = keep * square[i] + new * d * d
            square[i] = s
            d = keep_buf * buf[i] + d / (sqrt(s) + small)
            buf[i] = d
            p[i] -= rate * d
    elif momentum == 0.0:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            s = keep * square[i] + new * d * d
            m = mean[i] + new * (d - mean[i])
            square[i] = s
            mean[i] = m
            p[i] -= rate * (d / (sqrt(s - m * m) + small))
    else:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            s = keep * square[i] + new * d * d
            m = mean[i] + new * (d - mean[i])
            square[i] = s
            mean[i] = m
            d = keep_buf * buf[i] + d / (sqrt(s - m * m) + small)
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


@table(7)
def asgd(
    p: "*T", g: "*T", mean: "*T", mu: "*f4", eta: "*f4", step: "*f4", n: int,
    lr: float, lambd: float, t0: float, alpha: float, weight_decay: float, maximize: int,
):  # fmt: skip
    """p = p * (1 - lambd * eta) - eta * g; mean += mu * (p - mean); then eta (1,) falls with step, and mu (1,) from t0 on."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    copied = mu[0] == 1.0
    rate, shrink, decay, weight = T(eta[0]), T(1.0 - lambd * eta[0]), T(weight_decay), T(mu[0])
    for i in range(n):
        x = p[i]
        d = sign * g[i] + (decay * x if weight_decay != 0.0 else T(0.0))
        x = x * shrink - rate * d
        m = mean[i]
        p[i] = x
        mean[i] = x if copied else m + (x - m) * weight
    eta[0] = lr / (1.0 + lambd * lr * step[0]) ** alpha
    mu[0] = 1.0 / max(1.0, step[0] - t0)


@table(6)
def rprop(
    p: "*T", g: "*T", before: "*T", size: "*T", step: "*f4", n: int,
    shrink: float, grow: float, least: float, most: float, maximize: int,
):  # fmt: skip
    """size grows where g has the sign that it had before, and shrinks where not, when p stays; p -= size * sign(g); step
    counts."""
    step[0] += 1
    sign = T(-1.0) if maximize else T(1.0)
    less, more, low, high = T(shrink), T(grow), T(least), T(most)
    for i in range(n):
        d = sign * g[i]
        both = d * before[i]
        s = size[i]
        if both > T(0.0):
            s *= more
        elif both < T(0.0):
            s *= less
            d = T(0.0)
        # A size that is not a number stays so, as in torch.clamp.
        s = low if s < low else s
        s = high if s > high else s
        size[i] = s
        before[i] = d
        p[i] -= (s if d > T(0.0) else -s if d < T(0.0) else s * T(0.0))


@table(8)
def adafactor(
    p: "*T", g: "*T", row: "*T", col: "*T", step: "*f4", rows: int, cols: int, n: int,
    lr: float, beta2_decay: float, eps1: float, eps2: float, clip: float, weight_decay: float, maximize: int,
):  # fmt: skip
    """p -= alpha * g / sqrt(v), where v = row * col / mean(row) of running means of g**2 over columns and rows.

    p and g are (n / (rows * cols), rows, cols), row (..., rows, 1) and col (..., 1, cols); rows is 0 for a vector, whose v
    is row (n,). The share of the new mean is step**beta2_decay, alpha = max(eps2, rms(p)) * min(lr, 1 / sqrt(step)), less
    where the step would have an rms above clip.
    """
    step[0] += 1
    new = step[0] ** beta2_decay
    fresh, keep, small, least = T(new), T(1.0 - new), T(eps1), T(eps1 * eps1)
    total = T(0.0)
    for i in range(n):
        total = accumulate(total, p[i] * p[i])
    alpha = max(eps2, float(sqrt(total)) / n**0.5) * min(lr, 1.0 / step[0] ** 0.5)
    if weight_decay != 0.0:
        for i in range(n):
            p[i] *= T(1.0 - lr * weight_decay)
    norm = T(0.0)
    if rows == 0:
        for i in range(n):
            v = keep * row[i] + fresh * (g[i] * g[i])
            row[i] = v
            u = g[i] / sqrt(least if v < least else v)
            norm = accumulate(norm, u * u)
    for k in range(n // (rows * cols) if rows * cols else 0):
        r, c, start = k * rows, k * cols, k * rows * cols
        for j in range(cols):
            col[c + j] *= keep
        mean = T(0.0)
        for i in range(rows):
            at = start + i * cols
            total = T(0.0)
            for j in range(cols):
                total = accumulate(total, g[at + j] * g[at + j])
            for j in range(cols):
                col[c + j] += fresh * (g[at + j] * g[at + j] / T(rows))
            v = keep * row[r + i] + fresh * (total / T(cols))
            row[r + i] = v
            mean += v
        mean /= T(rows)
        mean = small if mean < small else mean
        for i in range(rows):
            at, v = start + i * cols, row[r + i]
            for j in range(cols):
                w = v * col[c + j] / mean
                u = g[at + j] / sqrt(least if w < least else w)
                norm = accumulate(norm, u * u)
    excess = float(sqrt(norm)) / (n**0.5 * clip)
    rate = T((alpha if maximize else -alpha) / (excess if excess > 1.0 else 1.0))
    if rows == 0:
        for i in range(n):
            v = row[i]
            p[i] += rate * (g[i] / sqrt(least if v < least else v))
    for k in range(n // (rows * cols) if rows * cols else 0):
        r, c, start = k * rows, k * cols, k * rows * cols
        mean = T(0.0)
        for i in range(rows):
            mean += row[r + i]
        mean /= T(rows)
        mean = small if mean < small else mean
        for i in range(rows):
            at, v = start + i * cols, row[r + i]
            for j in range(cols):
                w = v * col[c + j] / mean
                p[at + j] += rate * (g[at + j] / sqrt(least if w < least else w))


@table(4)
def muon_momentum(g: "*T", buf: "*T", out: "*T", n: int, momentum: float, nesterov: int):
    """buf = lerp(buf, g, 1 - momentum); out is buf, or lerp(g, buf, momentum)."""
    new, keep = T(1.0 - momentum), T(momentum)
    for i in range(n):
        d, b = g[i], buf[i]
        # The end that is nearer is exact, as in torch.lerp.
        b = d - (d - b) * keep if momentum <= 0.5 else b + new * (d - b)
        buf[i] = b
        out[i] = b if not nesterov else d + keep * (b - d) if momentum < 0.5 else b - (b - d) * new


@table(4)
def muon(p: "*T", o: "*T", rows: int, cols: int, lr: float, weight_decay: float, adjusted: int):
    """p (rows, cols) = p * (1 - lr * weight_decay) - rate * o; rate is lr times a factor of the sizes, as adjusted says."""
    factor = 1.0
    if adjusted == 1:
        factor = max(1.0, rows / cols) ** 0.5
    if adjusted == 2:
        factor = 0.2 * max(rows, cols) ** 0.5
    shrink, rate = T(1.0 - lr * weight_decay), T(lr * factor)
    for i in range(rows * cols):
        p[i] = p[i] * shrink - rate * o[i]
