"""What ``cuts`` draws: calls of functions that threads share, with sizes around the edges."""

import numpy as np

EDGES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
LONG = (4095, 4097, 8191, 16385, 32767, 32769, 65535, 65536, 65537, 131071, 131072, 131073, 196613)
CALLS = {}
ANY = ("float32", "float32", "float64", "float16", "bfloat16")
WAVES = ("float32", "float64", "complex64", "complex128")


def call(names, dtypes=("float32", "float64")):
    """Declare that the decorated function draws (function of a library and tensors, [inputs], [indices], arguments as text)."""
    def declare(draw):
        for name in names.split():
            CALLS[name] = draw, dtypes
        return draw
    return declare


def sizes(rng, most=200_000, dims=2):
    """A shape of few dimensions whose sizes lie around the edges."""
    if dims == 1:
        return (int(rng.choice(LONG)),)
    last = int(rng.choice(EDGES))
    rest = [int(rng.choice(EDGES[:9])) for _ in range(dims - 2)]
    rows = max(1, min(int(rng.choice(LONG)), most) // (last * max(1, int(np.prod(rest)))))
    order = [rows, *rest, last]
    if rng.random() < 0.3:
        order.reverse()
    return tuple(order)


def numbers(rng, shape):
    a = rng.standard_normal(shape)
    if rng.random() < 0.3:
        a = np.round(a * 2) / 2  # ties and zeros
    return a


def dims(rng):
    return int(rng.integers(1, 4))


def text(*what):
    return "(" + ", ".join(str(w) for w in what) + ")"


def indices(rng, shape, bound):
    """Numbers of places below ``bound``, many of them equal at times."""
    most = bound if rng.random() < 0.6 else max(1, min(bound, 3))
    return rng.integers(0, most, shape)


@call("fft ifft", WAVES)
def transform(name, rng):
    n = int(rng.choice([*EDGES, 97, 100, 251, 360, 509, 1000, 1021, 1024, 2048]))
    shape = (max(1, int(rng.choice([1, 2, 3, 7, 8, 9, 70_000 // n]))), n)
    dim = int(rng.integers(0, 2))
    shape = shape if dim else shape[::-1]
    return lambda lib, x: getattr(lib.fft, name)(x, dim=dim), [numbers(rng, shape)], [], text(dim)


@call("rfft2 irfft2 fft2 fftn hfft ihfft")
def transforms(name, rng):
    shape = tuple(int(rng.choice([1, 2, 3, 8, 9, 17, 64, 65])) for _ in range(3))
    return lambda lib, x: getattr(lib.fft, name)(x), [numbers(rng, shape)], [], ""


@call("roll", ANY)
def roll(name, rng):
    shape = sizes(rng, dims=dims(rng))
    count = int(rng.integers(1, len(shape) + 1))
    along = tuple(int(d) for d in rng.permutation(len(shape))[:count])
    shifts = tuple(int(s) for s in rng.integers(-70, 70, count))
    return lambda lib, x: lib.roll(x, shifts, along), [numbers(rng, shape)], [], text(shifts, along)


@call("index_add index_select index_copy index_fill", ANY)
def rows_by_index(name, rng):
    shape = sizes(rng, dims=1 + dims(rng))
    dim = int(rng.integers(0, len(shape)))
    n = int(rng.choice([1, 2, 17, shape[dim], 2 * shape[dim]]))
    n = min(n, shape[dim]) if name == "index_copy" else max(1, n)
    places = rng.permutation(shape[dim])[:n] if name == "index_copy" else indices(rng, n, shape[dim])
    source = (*shape[:dim], n, *shape[dim + 1:])
    a = numbers(rng, shape)
    if name == "index_select":
        return lambda lib, x, i: x.index_select(dim, i), [a], [places], text(dim, n)
    if name == "index_fill":
        return lambda lib, x, i: x.index_fill(dim, i, 2.5), [a], [places], text(dim, n)
    alpha = {"alpha": 1.5} if name == "index_add" and rng.random() < 0.5 else {}
    return (lambda lib, x, v, i: getattr(x, name)(dim, i, v, **alpha)), [a, numbers(rng, source)], [places], text(dim, n, alpha)


@call("index_put", ANY)
def put(name, rng):
    shape = sizes(rng, dims=2)
    n, both = int(rng.choice([1, 17, shape[0], 2 * shape[0] + 1])), bool(rng.random() < 0.4)
    i, j = indices(rng, n, shape[0]), indices(rng, n, shape[1])
    v = numbers(rng, (n,) if both else (n, shape[1]))
    if both:
        return lambda lib, x, v, i, j: x.index_put((i, j), v, True), [numbers(rng, shape), v], [i, j], text(n, both)
    return lambda lib, x, v, i: x.index_put((i,), v, True), [numbers(rng, shape), v], [i], text(n, both)


@call("take_rows", ANY)
def take(name, rng):
    shape = sizes(rng, dims=2)
    i = indices(rng, int(rng.choice([1, 17, 2 * shape[0] + 1])), shape[0])
    return lambda lib, x, i: x[i], [numbers(rng, shape)], [i], text(len(i))


@call("scatter_add gather scatter take_along_dim", ANY)
def along(name, rng):
    shape = sizes(rng, dims=dims(rng))
    dim = int(rng.integers(0, len(shape)))
    other = tuple(max(1, s - int(rng.integers(0, 2))) for s in shape)
    a = numbers(rng, shape)
    if name == "take_along_dim":
        other = shape
    if name == "scatter":  # no place twice: which write is the last is not said
        i = np.argsort(rng.random(shape), axis=dim)
        return lambda lib, x, v, i: x.scatter(dim, i, v), [a, numbers(rng, shape)], [i], text(dim)
    i = indices(rng, other, shape[dim])
    if name == "scatter_add":
        return lambda lib, x, v, i: x.scatter_add(dim, i, v), [a, numbers(rng, other)], [i], text(dim, other)
    function = (lambda lib, x, i: x.gather(dim, i)) if name == "gather" else lambda lib, x, i: lib.take_along_dim(x, i, dim)
    return function, [a], [i], text(dim, other)


@call("scatter_reduce", ("float64",))
def reduced(name, rng):
    shape = sizes(rng, dims=dims(rng))
    dim, how = int(rng.integers(0, len(shape))), str(rng.choice(["sum", "mean", "amax", "amin"]))
    include, i = bool(rng.random() < 0.5), indices(rng, shape, shape[dim])
    return (lambda lib, x, v, i: x.scatter_reduce(dim, i, v, how, include_self=include)), [
        rng.standard_normal(shape), rng.standard_normal(shape)], [i], text(dim, how, include)


@call("clamp hardtanh relu6 clamp_min clamp_max", ANY)
def bounded(name, rng):
    shape = sizes(rng, dims=dims(rng))
    low, high = sorted(float(v) for v in np.round(rng.standard_normal(2), 1))
    one = {"clamp": (low, high), "hardtanh": (low, high + 0.5), "relu6": (), "clamp_min": (low,), "clamp_max": (high,)}[name]
    where = (lambda lib: lib) if name.startswith("clamp") else (lambda lib: lib.nn.functional)
    return lambda lib, x: getattr(where(lib), name)(x, *one), [numbers(rng, shape) * 4], [], text(*one)


@call("adaptive_max_pool1d adaptive_max_pool2d max_pool2d max_pool1d adaptive_avg_pool2d")
def pooled(name, rng):
    flat = "1d" in name
    image = [int(rng.choice(EDGES[3:13])) for _ in range(2 - flat)]
    shape = (int(rng.choice([1, 2, 3])), int(rng.choice([1, 3, 8, 17])), *image)
    size = tuple(int(rng.integers(1, min(s, 9) + 1)) for s in shape[2:])
    if name.startswith("max"):
        more = (size, int(rng.integers(1, 4)), tuple(int(s) // 2 for s in size))
    else:
        more = (size,)
    return lambda lib, x: getattr(lib.nn.functional, name)(x, *more), [rng.standard_normal(shape)], [], text(*more)


@call("multi_margin_loss multilabel_margin_loss")
def margins(name, rng):
    shape = sizes(rng, most=70_000)
    reduction = str(rng.choice(["mean", "sum", "none"]))
    if name == "multi_margin_loss":
        y, more = indices(rng, shape[0], shape[1]), {"p": int(rng.integers(1, 3))}
    else:
        y, more = np.argsort(rng.random(shape), axis=1), {}
        y[:, shape[1] // 2:] = -1
    return (lambda lib, x, y: getattr(lib.nn.functional, name)(x, y, reduction=reduction, **more)), [numbers(rng, shape)], [
        y], text(reduction, more)


@call("bilinear bicubic nearest")
def resized(name, rng):
    shape = (int(rng.choice([1, 2])), int(rng.choice([1, 3, 8, 17])), *(int(rng.choice(EDGES[1:15])) for _ in range(2)))
    to = tuple(int(rng.choice(EDGES[:15])) for _ in range(2))
    more = {} if name == "nearest" else {"align_corners": bool(rng.random() < 0.5)}
    return lambda lib, x: lib.nn.functional.interpolate(x, to, mode=name, **more), [numbers(rng, shape)], [], text(to, more)


@call("grid_sample")
def sampled(name, rng):
    shape = (int(rng.choice([1, 2])), int(rng.choice([1, 3, 7, 8, 9, 17])), *(int(rng.choice(EDGES[1:13])) for _ in range(2)))
    grid = rng.uniform(-1.3, 1.3, (shape[0], *(int(rng.choice(EDGES[:13])) for _ in range(2)), 2))
    mode, edge = str(rng.choice(["bilinear", "nearest", "bicubic"])), str(rng.choice(["zeros", "border", "reflection"]))
    more = {"mode": mode, "padding_mode": edge, "align_corners": bool(rng.random() < 0.5)}
    return lambda lib, x, g: lib.nn.functional.grid_sample(x, g.to(x.dtype), **more), [numbers(rng, shape)], [grid], text(more)


@call("embedding_bag embedding")
def bags(name, rng):
    rows, wide = int(rng.choice(EDGES)), int(rng.choice(EDGES))
    i = indices(rng, (int(rng.choice([1, 8, 65, 300])), int(rng.choice(EDGES[:12]))), rows)
    if name == "embedding":
        return lambda lib, w, i: lib.nn.functional.embedding(i, w), [numbers(rng, (rows, wide))], [i], text(i.shape)
    mode = str(rng.choice(["sum", "mean", "max"]))
    w = numbers(rng, (rows, wide))
    return lambda lib, w, i: lib.nn.functional.embedding_bag(i, w, mode=mode), [w], [i], text(i.shape, mode)


@call("split chunk unbind", ANY)
def parts(name, rng):
    shape = sizes(rng, dims=1 + dims(rng))
    shape = shape if name != "unbind" else (3, *shape)
    count = int(rng.integers(1, 6))
    if name == "unbind":
        return lambda lib, x: [a * b for a, b in [x.unbind(0)[:2]]], [numbers(rng, shape)], [], ""
    dim = int(rng.integers(0, len(shape)))
    size = -(-shape[dim] // count) if name == "split" else count
    return lambda lib, x: [v * 2 for v in getattr(lib, name)(x, size, dim)], [numbers(rng, shape)], [], text(size, dim)


@call("dot vdot inner")
def products(name, rng):
    n = int(rng.choice([*LONG, *EDGES]))
    return lambda lib, a, b: getattr(lib, name)(a, b), [numbers(rng, (n,)), numbers(rng, (n,))], [], ""


@call("pad", ANY)
def padded(name, rng):
    shape = sizes(rng, dims=1 + dims(rng))
    count = int(rng.integers(1, len(shape) + 1))
    pad = [int(v) for v in rng.integers(-3, 7, 2 * count)]
    return lambda lib, x: lib.nn.functional.pad(x, pad, value=1.5), [numbers(rng, shape)], [], text(pad)


@call("nextafter fmod remainder atan2 hypot", ("float32", "float64"))
def pairs(name, rng):
    shape = sizes(rng, dims=dims(rng))
    other = shape if rng.random() < 0.6 else (1, *shape[1:])
    b = rng.standard_normal(other)
    return lambda lib, x, y: getattr(lib, name)(x, y), [rng.standard_normal(shape), b + np.sign(b)], [], ""


@call("frexp", ("float32", "float64", "float16"))
def mantissas(name, rng):
    return lambda lib, x: list(lib.frexp(x)), [numbers(rng, sizes(rng, dims=dims(rng)))], [], ""


@call("pdist cdist")
def distances(name, rng):
    n, m = int(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 64, 65, 128])), int(rng.choice(EDGES))
    p = float(rng.choice([0, 1, 1.5, 2, 3, np.inf]))
    a = rng.standard_normal((n, m))
    if name == "pdist":
        return lambda lib, x: lib.nn.functional.pdist(x, p), [a], [], text(p)
    return lambda lib, x, y: lib.cdist(x, y, p), [a, rng.standard_normal((int(rng.choice(EDGES)), m))], [], text(p)


@call("equal", ANY)
def same(name, rng):
    a = numbers(rng, sizes(rng, dims=dims(rng)))
    b = a.copy()
    if rng.random() < 0.7 and b.size:
        b.ravel()[int(rng.choice([0, b.size - 1, rng.integers(0, b.size)]))] += 1
    return lambda lib, x, y: lib.equal(x, y), [a, b], [], ""


@call("topk kthvalue sort median mode cummax", ("float32", "float64"))
def selected(name, rng):
    shape = sizes(rng, most=70_000, dims=dims(rng))
    a = rng.permutation(int(np.prod(shape))).reshape(shape) / 8.0
    dim = int(rng.integers(0, len(shape)))
    k = int(rng.choice([1, 2, 3, 8, 9, shape[dim] // 2, shape[dim]]))
    more = (max(1, min(k, shape[dim])),) if name in ("topk", "kthvalue") else ()
    if name == "mode":  # (the place of which of several is not said)
        return lambda lib, x: lib.mode(x, dim)[0], [np.round(a / 100)], [], text(dim)
    # What is laid out otherwise may have equal numbers, whose places are not said: values only.
    return lambda lib, x: getattr(lib, name)(x, *more, dim)[0], [a], [], text(*more, dim)


@call("cartesian_prod block_diag", ("float32", "float64"))
def combined(name, rng):
    if name == "block_diag":
        arrays = [numbers(rng, (int(rng.choice(EDGES)), int(rng.choice(EDGES)))) for _ in range(int(rng.integers(1, 4)))]
    else:
        arrays = [numbers(rng, (int(rng.choice(EDGES[:14])),)) for _ in range(int(rng.integers(1, 4)))]
    return lambda lib, *xs: getattr(lib, name)(*xs), arrays, [], ""


@call("unravel_index", ("float64",))
def coordinates(name, rng):
    shape = tuple(int(rng.choice(EDGES)) for _ in range(dims(rng)))
    i = rng.integers(0, int(np.prod(shape)), int(rng.choice(LONG))).astype(str(rng.choice(["int32", "int64"])))
    return lambda lib, i: list(lib.unravel_index(i, shape)), [], [i], text(shape)


@call("sum mean amax std logsumexp softmax cumsum norm argmax", ANY)
def folded(name, rng):
    shape = sizes(rng, dims=dims(rng))
    dim = int(rng.integers(0, len(shape)))
    if name in ("std", "norm", "argmax"):
        a = rng.standard_normal(shape)
    else:
        a = numbers(rng, shape) / (8 if name == "cumsum" else 1)
    if name == "norm":
        return lambda lib, x: x.norm(2, dim), [a], [], text(dim)
    if name == "argmax":
        return lambda lib, x: x.amax(dim) - x.gather(dim, x.argmax(dim, keepdim=True)).squeeze(dim), [a], [], text(dim)
    return lambda lib, x: getattr(lib, name)(x, dim), [a], [], text(dim)


@call("in_place", ANY)
def in_place(name, rng):
    shape = sizes(rng, dims=dims(rng))
    which = int(rng.integers(0, 6))

    def run(lib, x):
        y = x.clone()
        [lambda: y.clamp_(-0.5, 1), lambda: y.zero_(), lambda: y.fill_(2.5), lambda: lib.relu_(y), lambda: y.mul_(3),
         lambda: y.add_(y)][which]()
        return [y, y * y]
    return run, [numbers(rng, shape)], [], text(which)
