"""Kernels of cross entropy and negative log-likelihood over (rows, classes, inner).

``aux`` holds (maximum, log of the sum of exponentials) of each place and then the sum of the targets' weights.
"""

from __future__ import annotations

from numbagrad.extend import T, accumulate, exp, load, log, store
from numbagrad.kernel.jit import LANES, STRIP, kernel, lanes, strip

from ..reduce.row_folds import largest_of

# ``bad[0]`` receives the index, negative ones less one so that -1 can mean that all is well.

@kernel
def ce_rows(x: "*T", target: "*i8", w: "*T", out: "*T", aux: "*f8", bad: "*i8", n: int, inner: int, weighted: int,
            reduce: int, ignore: int, smoothing: float, rows: int, start: int, stop: int):
    """Cross entropy of x (rows, n) with target (rows,), weights w (n,) (0 for none), into out (rows,) or (1,) and aux (2
    rows + 1,), the bad target into bad (1,); target and bad are int64, aux float64."""
    sum_loss = 0.0
    sum_weight = 0.0
    even = T(smoothing / n)
    keep = T(1.0 - smoothing)
    for row in range(start, stop):
        base = row * n
        top = largest_of(x, base, base + n)
        total = T(0)
        for i in range(base, base + n):
            total = accumulate(total, exp(load(x[i]) - top))
        shift = log(total)
        aux[2 * row] = top
        aux[2 * row + 1] = shift
        t = target[row]
        loss = T(0)
        if t != ignore:
            if t < 0 or t >= n:
                bad[0] = t if t >= 0 else t - 1
            else:
                share = load(w[t]) if weighted else T(1)
                loss = keep * share * (shift - (load(x[base + t]) - top))
                if smoothing != 0.0:
                    spread = T(0)
                    if weighted:
                        for i in range(n):
                            spread = accumulate(spread, load(w[i]) * (shift - (load(x[base + i]) - top)))
                    else:
                        for i in range(n):
                            spread = accumulate(spread, shift - (load(x[base + i]) - top))
                    loss += even * spread
                sum_weight += share
        if reduce == 0:
            out[row] = store(loss)
        else:
            sum_loss += loss
    aux[2 * rows] = sum_weight
    if reduce == 1:
        # PyTorch adds a smoothed part to 0 / 0.
        out[0] = store(T((sum_loss if sum_weight != 0.0 else 0.0) / sum_weight))
    elif reduce == 2:
        out[0] = store(T(sum_loss))


# The usual case: no class weights, no smoothing, at most STRIP classes. Rows are taken together until they fill a strip, so
# that exponentials run over long stretches even for ten classes.

@kernel
def ce_plain(x: "*T", target: "*i8", out: "*T", aux: "*f8", bad: "*i8", n: int, reduce: int, ignore: int, rows: int):
    """``ce_rows`` without weights and smoothing of x (rows, n) with target (rows,), into out (rows,) or (1,) and aux (2 rows
    + 1,), the bad target into bad (1,); target and bad are int64, aux float64."""
    s, sums = strip(), lanes()
    per = min(STRIP // n, LANES)
    sum_loss = 0.0
    valid = 0
    for first in range(0, rows, per):
        m = min(per, rows - first)
        for r in range(m):
            base = (first + r) * n
            top = load(x[base])
            for i in range(base + 1, base + n):
                v = load(x[i])
                top = v if v > top else top
            aux[2 * (first + r)] = top
            for i in range(n):
                s[r * n + i] = load(x[base + i]) - top
        for i in range(m * n):
            s[i] = exp(s[i])
        for r in range(m):
            total = T(0)
            for i in range(r * n, r * n + n):
                total = accumulate(total, s[i])
            sums[r] = total
        for r in range(m):
            sums[r] = log(sums[r])
        for r in range(m):
            row = first + r
            aux[2 * row + 1] = sums[r]
            t = target[row]
            loss = T(0)
            if t != ignore:
                if t < 0 or t >= n:
                    bad[0] = t if t >= 0 else t - 1
                else:
                    loss = sums[r] - (load(x[row * n + t]) - T(aux[2 * row]))
                    valid += 1
            if reduce == 0:
                out[row] = store(loss)
            else:
                sum_loss += loss
    aux[2 * rows] = valid
    if reduce == 1:
        out[0] = store(T(sum_loss / valid))
    elif reduce == 2:
        out[0] = store(T(sum_loss))


@kernel
def ce_plain_gradient(g: "*T", x: "*T", target: "*i8", aux: "*f8", out: "*T", n: int, reduce: int, ignore: int, rows: int,
                      start: int, stop: int):
    """Gradient of ``ce_plain`` by x (rows, n), from g (rows,) or (1,), int64 target (rows,) and float64 aux (2 rows + 1,),
    into out (rows, n)."""
    scale = T(1)
    if reduce == 1:
        scale = T(1.0 / aux[2 * rows])
    if reduce != 0:
        scale *= load(g[0])
    per = max(1, 4 * STRIP // n)
    for first in range(start, stop, per):
        end = min(first + per, stop)
        for row in range(first, end):
            top = T(aux[2 * row])
            log_sum = T(aux[2 * row + 1])
            for i in range(row * n, row * n + n):
                out[i] = (x[i] - top) - log_sum
        for i in range(first * n, end * n):
            out[i] = scale * exp(out[i])
        for row in range(first, end):
            t = target[row]
            if t == ignore:
                for i in range(row * n, row * n + n):
                    out[i] = T(0)
            elif reduce == 0:
                for i in range(row * n, row * n + n):
                    out[i] = g[row] * out[i]
                out[row * n + t] -= g[row]
            else:
                out[row * n + t] -= scale


@kernel
def ce_columns(x: "*T", target: "*i8", w: "*T", out: "*T", aux: "*f8", bad: "*i8", n: int, inner: int, weighted: int,
               reduce: int, ignore: int, smoothing: float, rows: int, start: int, stop: int):
    """``ce_rows`` of x (rows, n, inner) with target (rows, inner), weights w (n,) (0 for none), into out (rows, inner) or
    (1,) and aux (2 rows inner + 1,), the bad target into bad (1,); target and bad are int64, aux float64."""
    top, total, spread = lanes(), lanes(), lanes()
    tiles = (inner + LANES - 1) // LANES
    sum_loss = 0.0
    sum_weight = 0.0
    even = T(smoothing / n)
    keep = T(1.0 - smoothing)
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * LANES
        width = min(LANES, inner - left)
        first = row * n * inner + left
        place = row * inner + left
        for k in range(width):
            top[k] = load(x[first + k])
            total[k] = T(0)
            spread[k] = T(0)
        for i in range(n):
            base = first + i * inner
            for k in range(width):
                v = load(x[base + k])
                top[k] = v if v > top[k] else top[k]
        for i in range(n):
            base = first + i * inner
            for k in range(width):
                total[k] = total[k] + exp(load(x[base + k]) - top[k])
        for k in range(width):
            total[k] = log(total[k])
            aux[2 * (place + k)] = top[k]
            aux[2 * (place + k) + 1] = total[k]
        if smoothing != 0.0:
            for i in range(n):
                base = first + i * inner
                share = load(w[i]) if weighted else T(1)
                for k in range(width):
                    spread[k] = spread[k] + share * (total[k] - (load(x[base + k]) - top[k]))
        for k in range(width):
            t = target[place + k]
            loss = T(0)
            if t != ignore:
                if t < 0 or t >= n:
                    bad[0] = t if t >= 0 else t - 1
                else:
                    share = load(w[t]) if weighted else T(1)
                    loss = keep * share * (total[k] - (load(x[first + t * inner + k]) - top[k])) + even * spread[k]
                    sum_weight += share
            if reduce == 0:
                out[place + k] = store(loss)
            else:
                sum_loss += loss
    aux[2 * rows] = sum_weight
    if reduce == 1:
        # PyTorch adds a smoothed part to 0 / 0.
        out[0] = store(T((sum_loss if sum_weight != 0.0 else 0.0) / sum_weight))
    elif reduce == 2:
        out[0] = store(T(sum_loss))


@kernel
def ce_gradient(g: "*T", x: "*T", target: "*i8", w: "*T", aux: "*f8", out: "*T", n: int, inner: int, weighted: int,
                reduce: int, ignore: int, smoothing: float, rows: int, start: int, stop: int):
    """Gradient of ``ce_rows`` and ``ce_columns`` by x (rows, n, inner), from g (rows, inner) or (1,), int64 target (rows,
    inner), w (n,) (0 for none) and float64 aux, into out (rows, n, inner)."""
    shift, factor, top = lanes(), lanes(), lanes()
    tiles = (inner + LANES - 1) // LANES
    even = T(smoothing / n)
    keep = T(1.0 - smoothing)
    shares = T(n)
    if weighted and smoothing != 0.0:  # an infinite weight times no smoothing would be NaN
        shares = T(0)
        for i in range(n):
            shares = accumulate(shares, load(w[i]))
    scale = T(1)
    if reduce == 1:
        scale = T(1.0 / aux[2 * rows])
    if reduce != 0:
        scale *= load(g[0])
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * LANES
        width = min(LANES, inner - left)
        first = row * n * inner + left
        place = row * inner + left
        if inner == 1:
            t = target[row]
            if t == ignore:
                for i in range(first, first + n):
                    out[i] = store(T(0))
                continue
            a = scale if reduce != 0 else load(g[row])
            share = keep * (load(w[t]) if weighted else T(1))
            high = T(aux[2 * row])
            log_sum = T(aux[2 * row + 1])
            b = a * (share + even * shares)
            if smoothing == 0.0:
                for i in range(first, first + n):
                    out[i] = store(b * exp((load(x[i]) - high) - log_sum))
            elif weighted:
                for i in range(n):
                    out[first + i] = store(b * exp((load(x[first + i]) - high) - log_sum) - a * even * load(w[i]))
            else:
                for i in range(first, first + n):
                    out[i] = store(b * exp((load(x[i]) - high) - log_sum) - a * even)
            out[first + t] = store(load(out[first + t]) - a * share)
            continue
        for k in range(width):
            t = target[place + k]
            # Where all are ignored the scale is infinite, and must not meet a zero.
            factor[k] = T(0)
            if t != ignore:
                a = scale if reduce != 0 else load(g[place + k])
                factor[k] = a * (keep * (load(w[t]) if weighted else T(1)) + even * shares)
            top[k] = T(aux[2 * (place + k)])
            shift[k] = T(aux[2 * (place + k) + 1])
        for i in range(n):
            base = first + i * inner
            for k in range(width):
                out[base + k] = store(factor[k] * exp((load(x[base + k]) - top[k]) - shift[k]))
        for k in range(width):
            t = target[place + k]
            if t != ignore:
                a = scale if reduce != 0 else load(g[place + k])
                if smoothing != 0.0:
                    for i in range(n):
                        at = first + i * inner + k
                        share = load(w[i]) if weighted else T(1)
                        out[at] = store(load(out[at]) - a * even * share)
                at = first + t * inner + k
                share = keep * (load(w[t]) if weighted else T(1))
                out[at] = store(load(out[at]) - a * share)


@kernel
def nll(x: "*T", target: "*i8", w: "*T", out: "*T", aux: "*f8", bad: "*i8", n: int, inner: int, weighted: int,
        reduce: int, ignore: int, rows: int):
    """Negative log-likelihood of x (rows, n, inner) with target (rows, inner), weights w (n,) (0 for none), into out (rows,
    inner) or (1,) and the sum of weights aux (1,), the bad target into bad (1,); target and bad are int64, aux float64."""
    sum_loss = 0.0
    sum_weight = 0.0
    for row in range(rows):
        for j in range(inner):
            place = row * inner + j
            t = target[place]
            loss = T(0)
            if t != ignore:
                if t < 0 or t >= n:
                    bad[0] = t if t >= 0 else t - 1
                else:
                    share = load(w[t]) if weighted else T(1)
                    loss = -share * load(x[(row * n + t) * inner + j])
                    sum_weight += share
            if reduce == 0:
                out[place] = store(loss)
            else:
                sum_loss += loss
    aux[0] = sum_weight
    if reduce == 1:
        out[0] = store(T(sum_loss / sum_weight))
    elif reduce == 2:
        out[0] = store(T(sum_loss))


@kernel
def nll_gradient(g: "*T", target: "*i8", w: "*T", aux: "*f8", out: "*T", n: int, inner: int, weighted: int, reduce: int,
                 ignore: int, rows: int):
    """Gradient of ``nll`` from g (rows, inner) or (1,), int64 target (rows, inner), w (n,) (0 for none) and float64 aux
    (1,), into out (rows, n, inner)."""
    for i in range(rows * n * inner):
        out[i] = store(T(0))
    scale = T(1)
    if reduce == 1:
        scale = T(1.0 / aux[0])
    for row in range(rows):
        for j in range(inner):
            place = row * inner + j
            t = target[place]
            if t != ignore:
                a = load(g[place]) if reduce == 0 else load(g[0]) * scale
                share = load(w[t]) if weighted else T(1)
                out[(row * n + t) * inner + j] = store(-a * share)
