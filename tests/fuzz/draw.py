"""Calls from seeds: a registry sample with some of its tensors, numbers and options replaced."""

import numpy as np
from registry.draw import REGISTRY, Case

FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = (*FLOATS, "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128")
STORED = {"bfloat16": "float32"}
INTS = (0, 1, -1, 2, 3, -2, 7, 100, -100, 2**31, -2**31, 2**31 - 1, 2**40, 2**62, 2**63 - 1, -2**63, 2**63, 2**64)
FLOAT_VALUES = (0.0, -0.0, 0.5, -1.5, 2.7, 1e30, -1e300, float("nan"), float("inf"), float("-inf"), 1e-45)
WORDS = ("", "mean", "none", "sum", "x", "reflect", "constant")
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 3e38, -1.0, 1.0, 0.5)
SHAPES = ((), (0,), (1,), (2,), (5,), (2, 0), (0, 3), (1, 1), (2, 3), (3, 2), (3, 3), (2, 3, 4), (1, 3, 1), (2, 0, 3),
          (1, 2, 3, 4), (2, 1, 4, 4), (0, 2, 3, 3), (1, 2, 3, 3, 3))
MODES = ("forward", "forward", "backward", "backward", "twice", "inplace", "out")
# Ops without samples and how many matrices they take: decompositions, since their tests draw positive definite or full-rank
# matrices themselves, conversions of the dtype and activations in place.
MATRICES = {**dict.fromkeys(("cholesky", "cholesky_inverse", "qr", "eigh", "eigvalsh", "svd", "svdvals", "pinv", "eig",
                             "eigvals", "matrix_rank", "cond", "float", "double", "half", "bfloat16", "int", "long", "short",
                             "char", "byte", "bool", "cfloat", "cdouble", "contiguous", "celu_", "relu_", "leaky_relu_",
                             "elu_", "hardtanh_", "selu_", "rrelu_"), 1),
            **dict.fromkeys(("lstsq", "cholesky_solve", "type_as", "logical_and_", "logical_or_", "logical_xor_"), 2)}
# Where values, shapes or the process itself are the point: nothing to mutate.
LEFT_OUT = {"cuda", "multi_head_attention_forward"}


class T:
    """A tensor to be made by either library: a row-major storage and a view of it."""

    def __init__(self, values, dtype, shape, strides=None, offset=0, grad=False):
        self.values, self.dtype, self.shape, self.offset, self.grad = values, dtype, tuple(shape), offset, grad
        self.strides = strides

    def __repr__(self):
        text = f"T({list(self.shape)}, {self.dtype}"
        if self.strides is not None:
            text += f", strides={list(self.strides)}, offset={self.offset}, of={self.values.size}"
        if self.values.size <= 4:
            text += f", values={self.values.tolist()}"
        elif not np.isfinite(self.values).all():
            text += ", nan or inf"
        elif self.values.dtype.kind in "fc" and (np.abs(self.values) > 1e20).any():
            text += ", huge"
        return text + (", grad)" if self.grad else ")")


class Call:
    """What is drawn: the op, its arguments with ``T`` for tensors, and how it is run."""

    def __init__(self, op, args, kwargs, mode, side):
        self.op, self.args, self.kwargs, self.mode, self.side = op, args, kwargs, mode, side

    def tensors(self):
        """The tensors of the call, each once."""
        return list({id(t): t for t in leaves((self.args, list(self.kwargs.values()))) if isinstance(t, T)}.values())

    def __repr__(self):
        given = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.mode} {self.op.name}({', '.join(given)})"


def leaves(x):
    if isinstance(x, (tuple, list)):
        return [v for e in x for v in leaves(e)]
    return [x]


def replaced(x, number, new):
    """A nested structure with leaf ``number`` replaced."""
    count = [-1]

    def walk(v):
        if isinstance(v, (tuple, list)):
            return type(v)([walk(e) for e in v])
        count[0] += 1
        return new if count[0] == number else v
    return walk(x)


def catalogue(names=()):
    """The public ops that have samples, or those named."""
    return [op for op in REGISTRY.values() if not op.private and op.name not in LEFT_OUT
            and (op.samples or op.name in MATRICES) and (not names or op.name in names)]


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def fitted(values, shape, dtype, rng):
    """Values repeated to a storage of this shape and dtype."""
    count = int(np.prod(shape))
    flat = np.resize(values.reshape(-1), count) if values.size else rng.standard_normal(count)
    if dtype == "bool":
        return flat != 0
    if "complex" in dtype:
        return flat.astype(dtype)
    if np.iscomplexobj(flat):
        flat = flat.real
    with np.errstate(all="ignore"):
        return flat.astype(STORED.get(dtype, dtype))


def laid_out(t, rng):
    """The same shape in another layout: transposed, step, offset, expanded or overlapping memory."""
    kind, n = pick(rng, ("transposed", "step", "offset", "expanded", "overlapping")), len(t.shape)
    size = lambda order: [int(np.prod([t.shape[j] for j in order[order.index(i) + 1:]])) for i in order]  # noqa: E731
    order = list(range(n))
    strides = size(order)
    offset = int(rng.integers(0, 3))
    if kind == "transposed" and n > 1:
        order = [int(i) for i in rng.permutation(n)]
        strides = [0] * n
        for i, s in zip(order, size(order)):
            strides[i] = s
    elif kind == "step":
        strides = [2 * s for s in strides]
    elif kind == "expanded" and n:
        strides[int(rng.integers(n))] = 0
    elif kind == "overlapping" and n:
        strides = [min(s, 1 + int(rng.integers(2))) for s in strides]
    extent = 0 if 0 in t.shape else 1 + sum((d - 1) * s for d, s in zip(t.shape, strides))
    return T(fitted(t.values, (offset + extent,), t.dtype, rng), t.dtype, t.shape, strides, offset, t.grad)


def mutated_tensor(t, rng):
    """Another dtype, shape, layout or other values; now and then no tensor at all."""
    what = pick(rng, ("dtype", "dtype", "shape", "shape", "layout", "layout", "values", "values", "other"))
    if what == "dtype":
        dtype = pick(rng, DTYPES)
        return T(fitted(t.values, t.values.shape, dtype, rng), dtype, t.shape, t.strides, t.offset, t.grad)
    if what == "shape":
        shape = list(pick(rng, SHAPES)) if rng.integers(2) or not t.shape else list(t.shape)
        if shape == list(t.shape):
            at = int(rng.integers(len(shape) or 1))
            change = pick(rng, ("zero", "one", "more", "drop", "add"))
            shape[at:at + 1] = {"zero": [0], "one": [1], "more": [(shape + [1])[at] + 1], "drop": [],
                                  "add": [1, *shape[at:at + 1]]}[change]
        return T(fitted(t.values, shape, t.dtype, rng), t.dtype, shape, None, 0, t.grad)
    if what == "layout":
        return laid_out(t, rng)
    if what == "values":
        values = t.values.copy()
        if values.size and t.dtype != "bool":
            for _ in range(int(rng.integers(1, 4))):
                special = pick(rng, SPECIAL) if values.dtype.kind in "fc" else pick(rng, (-1, 0, 100, 127, -100))
                with np.errstate(all="ignore"):
                    values[int(rng.integers(values.size))] = np.array(special).astype(values.dtype)
        return T(values, t.dtype, t.shape, t.strides, t.offset, t.grad)
    return pick(rng, (None, 2, -1.5, True, "x", np.int64(2), np.float32(0.5), np.ones(3, np.float32), 2**63, float("nan"), []))


def mutated_value(v, rng):
    """Another number, word or kind of argument."""
    if isinstance(v, bool):
        return pick(rng, (not v, None, 1, "x", np.bool_(True)))
    if isinstance(v, int):
        return pick(rng, (*INTS, np.int64(v) if -2**63 <= v < 2**63 else v, np.int32(1), True, 1.0, 1.5, None, "x", (v, v),
                          T(np.ones(1, "int64"), "int64", ()),
                          float("nan"), np.array(1)))
    if isinstance(v, float):
        return pick(rng, (*FLOAT_VALUES, np.float32(0.5), np.float64(v), 1, 2**62, 2**63, True, None, "x",
                          T(np.ones(1, "float32"), "float32", ())))
    if isinstance(v, str):
        return pick(rng, (*WORDS, None, 1, 0.5))
    return pick(rng, (*INTS[:8], None, "x", 0.5, (1, 2), True))


def drawn(seed, number, names=()):
    """The call with this number."""
    rng = np.random.default_rng((seed, number))
    op = pick(rng, catalogue(names))
    if op.samples:
        case = Case(op, int(rng.integers(len(op.samples))))
        grads = set(case.differentiable)
        base = "float32" if rng.integers(3) else "float64"
        made = []
        for i, a in enumerate(case.arrays):
            dtype = {"float64": base, "complex128": "complex64" if base == "float32" else "complex128"}.get(
                a.dtype.name, a.dtype.name)
            made.append(T(a.reshape(-1).astype(dtype), dtype, a.shape, None, 0, i in grads or a.dtype.kind == "c"))
        args, kwargs = case.fill(made)
    else:
        shape = pick(rng, ((3, 3), (4, 3), (2, 3, 3), (0, 3)))
        args = [T(fitted(np.zeros(0), shape, "float64", rng), "float64", shape, None, 0, True)
                for _ in range(MATRICES[op.name])]
        kwargs = {}
    mode = pick(rng, MODES)
    keys = list(kwargs)
    tree = [list(args), [kwargs[k] for k in keys]]
    for _ in range(int(rng.integers(0, 4))):
        tree = mutated(tree, rng)
    if not rng.integers(12) and keys:
        return Call(op, [*tree[0], *tree[1]], {}, mode, ("after", "before")[number % 2])
    return Call(op, tree[0], dict(zip(keys, tree[1])), mode, ("after", "before")[number % 2])


def mutated(tree, rng):
    """One change: a leaf, a duplicated tensor, or one more or fewer argument."""
    all_ = leaves(tree)
    if not all_:
        return tree
    at = int(rng.integers(len(all_)))
    tensors = [i for i, x in enumerate(all_) if isinstance(x, T)]
    if len(tensors) > 1 and not rng.integers(8):
        return replaced(tree, pick(rng, tensors), all_[pick(rng, tensors)])
    if not rng.integers(40):
        return [[*tree[0], pick(rng, (*INTS, *WORDS, 0.5, None, True))], tree[1]]
    x = all_[at]
    return replaced(tree, at, mutated_tensor(x, rng) if isinstance(x, T) else mutated_value(x, rng))
