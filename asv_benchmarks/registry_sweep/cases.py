"""Calls of the registry's ops as plain data: arrays and arguments, so that PyTorch's process never imports numbagrad."""

from __future__ import annotations

import inspect
import math

import numpy as np

LARGE = 1 << 20  # elements of the largest tensor of a large case
DRAW = np.random.default_rng(3)


def corners(*shape):
    """The place of each window of two elements a side in its plane, for maxima (samples, channels, ...)."""
    axes = np.ix_(*[2 * np.arange(n) for n in shape[2:]])
    steps = [math.prod([2 * n for n in shape[i:]]) for i in range(3, len(shape) + 1)]
    return np.ascontiguousarray(np.broadcast_to(sum(a * s for a, s in zip(axes, steps)), shape))


# Sizes that mean something to the op are not multiplied by one factor.
SAMPLES = {
    "matmul": ((1024, 1024), (1024, 256)), "mm": ((1024, 1024), (1024, 256)), "bmm": ((64, 64, 64), (64, 64, 64)),
    "addmm": ((1024, 256), (1024, 1024), (1024, 256)), "baddbmm": ((64, 64, 64), (64, 64, 64), (64, 64, 64)),
    "addbmm": ((64, 64), (64, 64, 64), (64, 64, 64)), "linear": ((1024, 1024), (256, 1024), (256,)),
    "mv": ((1024, 1024), (1024,)), "outer": ((1024,), (1024,)), "ger": ((1024,), (1024,)), "dot": ((1 << 20,), (1 << 20,)),
    "addmv": ((1024,), (1024, 1024), (1024,)), "addr": ((1024, 1024), (1024,), (1024,)), "kron": ((32, 32), (32, 32)),
    "conv1d": ((16, 32, 1024), (64, 32, 3), (64,)), "conv2d": ((16, 32, 32, 32), (64, 32, 3, 3), (64,)),
    "conv3d": ((2, 8, 16, 16, 16), (16, 8, 3, 3, 3), (16,)), "conv_transpose1d": ((16, 32, 256), (32, 16, 3)),
    "conv_transpose2d": ((8, 32, 32, 32), (32, 16, 3, 3)), "conv_transpose3d": ((2, 8, 8, 8, 8), (8, 4, 3, 3, 3)),
    "max_pool1d": ((16, 64, 1024), 2), "max_pool2d": ((16, 32, 32, 32), 2), "max_pool3d": ((4, 8, 32, 32, 32), 2),
    "avg_pool1d": ((16, 64, 1024), 2), "avg_pool2d": ((16, 32, 32, 32), 2), "avg_pool3d": ((4, 8, 32, 32, 32), 2),
    "adaptive_avg_pool2d": ((16, 32, 32, 32), 8), "adaptive_max_pool2d": ((16, 32, 32, 32), 8),
    "adaptive_avg_pool1d": ((16, 64, 1024), 8), "adaptive_max_pool1d": ((16, 64, 1024), 8),
    "fold": ((8, 144, 900), (32, 32), 3), "pixel_shuffle": ((16, 64, 32, 32), 2),
    "pixel_unshuffle": ((16, 16, 64, 64), 2), "embedding": (("int64", (4096,), 0, 1000), (1000, 256)),
    "scaled_dot_product_attention": ((4, 8, 128, 64), (4, 8, 128, 64), (4, 8, 128, 64)),
    "layer_norm": ((1024, 1024), (1024,)), "rms_norm": ((1024, 1024), (1024,)), "group_norm": ((16, 64, 32, 32), 8),
    "view": ((1024, 1024), (512, 2048)), "reshape": ((1024, 1024), (512, 2048)), "expand": ((1, 1024), (1024, 1024)),
    "broadcast_to": ((1, 1024), (1024, 1024)), "flatten": ((64, 64, 256),), "repeat": ((256, 256), (4, 4)),
    "tile": ((256, 256), (4, 4)), "index_select": ((1024, 1024), 0, ("int64", (1024,), 0, 1024)),
    "gather": ((1024, 1024), 1, ("int64", (1024, 1024), 0, 1024)), "take": ((1024, 1024), ("int64", (1 << 20,), 0, 1 << 20)),
    "scatter_add": ((1024, 1024), 1, ("int64", (1024, 1024), 0, 1024), (1024, 1024)),
    "index_add": ((1024, 1024), 0, ("int64", (1024,), 0, 1024), (1024, 1024)),
    "cholesky": ((128, 128),), "inv": ((128, 128),), "det": ((128, 128),), "slogdet": ((128, 128),),
    "solve": ((128, 128), (128, 16)), "qr": ((128, 128),), "svd": ((128, 128),), "eigh": ((128, 128),),
    "cross_entropy": ((1024, 1000), ("int64", (1024,), 0, 1000)), "nll_loss": ((1024, 1000), ("int64", (1024,), 0, 1000)),
    "interpolate": ((8, 16, 64, 64),), "topk": ((1024, 1024), 8), "multinomial": ((1024, 1024), 8),
    "one_hot": (("int64", (4096,), 0, 256), 256), "bincount": (("int64", (1 << 20,), 0, 1000),),
    "broadcast_tensors": ([(1, 1024), (1024, 1)],), "meshgrid": ([(1024,), (1024,)],), "cartesian_prod": ((1024,), (512,)),
    "combinations": ((512,),), "vander": (np.linspace(0.5, 1, 1024), 64),
    "cross": ((1 << 18, 3), (1 << 18, 3)), "diag": ((1024,),), "diagflat": ((1024,),), "diag_embed": ((1024,),),
    "block_diag": ((512, 512), (512, 512)), "histc": ((1 << 20,), 100), "histogramdd": ((1 << 18, 2), [8, 8]),
    "searchsorted": ((1024,), (1024, 1024)),
    "bucketize": ((1024, 1024), (1024,)), "scatter": ((1024, 1024), 1, ("int64", (1024, 1024), 0, 1024), (1024, 1024)),
    "index_copy": ((1024, 1024), 0, ("int64", (512,), 0, 1024), ("float64", (512, 1024))),
    "split": ((1024, 1024), 128), "split_with_sizes": ((1024, 1024), [256, 768]), "chunk": ((1024, 1024), 4),
    "pad": ((16, 32, 32, 32), (1, 1, 1, 1)), "constant_pad_nd": ((16, 32, 32, 32), (1, 1, 1, 1)),
    "embedding_bag": (("int64", (1024, 16), 0, 1000), (1000, 256)), "local_response_norm": ((16, 64, 32, 32), 5),
    "adaptive_avg_pool3d": ((2, 16, 32, 32, 32), 4), "adaptive_max_pool3d": ((2, 16, 32, 32, 32), 4),
    "lp_pool2d": ((16, 32, 32, 32), 2, 2), "im2col": ((8, 16, 32, 32), 3), "instance_norm": ((16, 64, 32, 32),),
    "batch_norm": ((16, 64, 32, 32), None, None, (64,), (64,)), "cdist": ((512, 64), (512, 64)), "pdist": ((512, 64),),
    "inverse": ((128, 128),), "logdet": ((128, 128),), "matrix_power": ((256, 256), 3), "matrix_exp": ((128, 128),),
    "solve_triangular": ((128, 128), (128, 16)), "svdvals": ((128, 128),), "matrix_norm": ((1024, 1024),),
    "cond": ((128, 128),),
    "pinv": ((128, 128),), "pinverse": ((128, 128),), "matrix_rank": ((128, 128),), "eigvalsh": ((128, 128),),
    "soft_margin_loss": ((1024, 1024), np.ones((1024, 1024))), "hinge_embedding_loss": ((1024, 1024), np.ones((1024, 1024))),
    "margin_ranking_loss": ((1024, 1024), (1024, 1024), np.ones((1024, 1024))),
    "cosine_embedding_loss": ((1024, 1024), (1024, 1024), np.ones(1024)),
    "multilabel_margin_loss": ((4096, 32), ("int64", (4096, 32), -1, 32)), "view_as_complex": ((1 << 19, 2),),
    "unflatten": ((1024, 1024), 1, [16, 64]), "slice_scatter": ((1024, 1024), ("float64", (512, 1024)), 0, 256, 768),
    "affine_grid": ((8, 2, 3), (8, 1, 256, 256), False), "affine_grid_generator": ((8, 2, 3), (8, 3, 256, 256), True),
    "grid_sample": ((8, 8, 128, 128), (8, 128, 128, 2)), "grid_sampler": ((8, 8, 128, 128), (8, 128, 128, 2), 0, 1, False),
    "grid_sampler_2d": ((8, 8, 128, 128), (8, 128, 128, 2), 2, 2, True),
    "grid_sampler_3d": ((2, 8, 32, 32, 64), (2, 32, 32, 64, 3), 0, 2, True),
    "max_unpool1d": ((16, 64, 512), corners(16, 64, 512), 2), "max_unpool2d": ((16, 16, 32, 32), corners(16, 16, 32, 32), 2),
    "max_unpool3d": ((4, 8, 16, 16, 16), corners(4, 8, 16, 16, 16), 2),
    **dict.fromkeys(("fractional_max_pool2d", "fractional_max_pool2d_with_indices"), (
        (4, 16, 128, 128), 2, (64, 60), None, False, DRAW.random((4, 16, 2)))),
    **dict.fromkeys(("fractional_max_pool3d", "fractional_max_pool3d_with_indices"), (
        (2, 8, 32, 32, 64), 2, (16, 15, 30), None, False, DRAW.random((2, 8, 3)))),
    "ctc_loss": ((128, 64, 128), DRAW.integers(1, 128, (64, 32)), (128,) * 64, (32,) * 64),
    "as_strided_scatter": ((1024, 1024), (512, 512), [512, 512], [2048, 2], 1),
}
CALLED = {"im2col": "unfold"}  # in PyTorch
FORWARD = {"vander"}  # PyTorch's backward raises


class Slot:
    """The place of tensor ``number`` in a call."""

    def __init__(self, number):
        self.number = number


def fill(value, tensors):
    """``value`` with tensors in its slots."""
    if isinstance(value, Slot):
        return tensors[value.number]
    if isinstance(value, (list, tuple)):
        return type(value)([fill(v, tensors) for v in value])
    if isinstance(value, dict):
        return {k: fill(v, tensors) for k, v in value.items()}
    return value


def ops(wanted):
    """Public ops with samples, of a wanted name."""
    from numbagrad.core.registry import REGISTRY
    return [op for op in REGISTRY.values() if not op.private and op.samples and wanted(op.name) and
            op.namespaces + (op.method or "",) != ("",)]


def portable(op, size):
    """[(name, what the worker calls, arrays, args, kwargs, which arrays want gradients)] of one op, at most one."""
    from numbagrad.dispatch.op import Sample
    from numbagrad.dispatch.sampling import Case
    sample = chosen(op)
    if size == "large":
        given = SAMPLES.get(op.name)
        if given is not None:
            sample = Sample(*given, **sample.kwargs)
        else:
            sample = enlarged(op, sample)
    if sample is None:
        return []
    op.samples, kept = (sample, *op.samples), op.samples
    try:
        case = large_case(op) if size == "large" else Case(op, 0)
    finally:
        op.samples = kept
    if not case.arrays:
        return []

    def plain(x):
        if type(x).__name__ == "Slot":
            return Slot(x.number)
        if isinstance(x, (list, tuple)):
            return type(x)([plain(v) for v in x])
        if isinstance(x, (int, float, complex, str, bool, type(None))):
            return x
        raise TypeError(f"{type(x).__name__} among the arguments")
    if case.args and isinstance(case.args[0], list) and "VAR_POSITIONAL" in [p.kind.name for p in
                                                                             op.signature.parameters.values()]:
        case.args[:1] = case.args[0]  # some of PyTorch's take no list
    arrays = [a.astype({"float64": "float32", "complex128": "complex64"}.get(a.dtype.name, a.dtype.name)) for a in case.arrays]
    leaves = case.differentiable if op.differentiable and op.name not in FORWARD else []
    try:
        return [(op.name, (*op.namespaces, op.method, CALLED.get(op.name, op.torch_name)), arrays, plain(case.args),
                 {k: plain(v) for k, v in case.kwargs.items()}, leaves)]
    except TypeError:
        return []


FORMS = "_", " out="  # of a case's name: in-place, on a copy that is made anew each time, and into the result of a call before


def forms(op, size):
    """``portable`` of the op's other forms."""
    from numbagrad import Tensor
    out = []
    for name, names, arrays, args, kwargs, _ in portable(op, size):
        if op.method and hasattr(Tensor, op.method + "_") and args and isinstance(args[0], Slot):
            out.append((name + FORMS[0], ("", op.method + "_", ""), arrays, args, kwargs, []))
        if "out" in inspect.signature(op.callable).parameters:
            out.append((name + FORMS[1], names, arrays, args, kwargs, []))
    return out


def large_case(op):
    """The first sample with numbers from the whole domain, not all different, which takes seconds for a million."""
    from numbagrad.dispatch.sampling import NUMPY, Case

    class Drawn(Case):
        def _draw(self):
            out = []
            for kind, shape, *limits in self.specs:
                if kind == "constant":
                    a = limits[0]
                elif kind == "bool":
                    a = self.rng.integers(0, 2, shape)
                elif kind.startswith(("int", "uint")):
                    a = self.rng.integers(*(limits or (0, 10)), shape)
                else:
                    a = self.rng.uniform(*self.op.domain, shape)
                    a = a + 1j * self.rng.uniform(*self.op.domain, shape) if kind.startswith("complex") else a
                out.append(np.asarray(a) if kind == "constant" else np.asarray(a).astype(NUMPY[kind]))
            return out
    return Drawn(op, 0)


def chosen(op):
    """The first sample whose tensors are not tiny."""
    from numbagrad.dispatch.sampling import Case
    for i, sample in enumerate(op.samples):
        arrays = Case(op, i).arrays
        if arrays and max([a.size for a in arrays]) > 1:
            return sample
    return None


def enlarged(op, sample):
    """The sample with every size multiplied by one factor, so that no tensor has more than about ``LARGE`` elements."""
    from numbagrad.dispatch.op import Sample
    from numbagrad.dispatch.sampling import Case
    if sample is None:
        return None
    case = Case(op, op.samples.index(sample))
    factor = max(1, min([round((LARGE / math.prod(dims)) ** (1 / len(dims)))
                         for dims in [[n for n in a.shape if n > 1] for a in case.arrays] if dims]))
    known = {n for a in case.arrays for n in a.shape if n > 1}

    def grown(shape):
        return tuple([n * factor if n > 1 else n for n in shape])

    def change(slot, given):
        if isinstance(given, list):
            return [change(s, g) for s, g in zip(slot, given)]
        if type(slot).__name__ != "Slot":
            return given
        kind, shape, *limits = case.specs[slot.number]
        if kind == "constant":
            return given
        if limits:
            low, high = limits
            return kind, grown(shape), low, high * factor if high in known else high
        return grown(shape) if not isinstance(given[0] if given else 0, str) else (kind, grown(shape))
    args = [change(s, g) for s, g in zip(case.args, sample.args)]
    return Sample(*args, **{k: change(case.kwargs[k], v) for k, v in sample.kwargs.items()})


def everyday(size):
    """What people write all day: [(name, text of the call, arrays, names that want gradients)]."""
    n = 8 if size == "small" else 1024
    rng = np.random.default_rng(7)

    def rand(*shape):
        return rng.standard_normal(shape).astype("float32")
    index = rng.integers(0, n, n)
    values = {"a": rand(n, n), "b": rand(n, n), "row": rand(n), "column": rand(n, 1), "three": rand(4, n, n // 4), "i": index,
              "i2": rng.integers(0, n, (n, n)), "mask": rng.random((n, n)) > 0.5, "d": rand(n, n).astype("float64"),
              "ints": rng.integers(0, 100, (n, n)), "list64": rng.standard_normal(64).tolist(),
              "c": np.zeros((n, n), "float32")}
    out = []
    for name, call in EVERYDAY.items():
        if size == "large" and name in SMALL_ONLY:
            continue
        used = {k: v for k, v in values.items() if k in call.replace(".", " ").replace("(", " ").replace("[", " ")
                .replace(",", " ").replace(")", " ").replace("]", " ").split()}
        grads = [] if name in WITHOUT_GRADIENT else [k for k, v in used.items() if getattr(v, "dtype", None) == np.float32]
        out.append((name, call, used, grads))
    return out


EVERYDAY = {
    "add": "a + b", "add_number": "a + 1.5", "add_row": "a + row", "add_column": "a + column", "add_mixed": "a + ints",
    "add_double": "a + d", "add_transposed": "a + b.t()", "sliced_times_2": "a[1:, 1:] * 2", "rsub": "1 - a", "pow2": "a ** 2",
    "row": "a[0]", "element": "a[0, 1]", "slice": "a[1:3]", "column_of": "a[:, 0]", "two_slices": "a[1:, 1:]",
    "none": "a[:, None]", "t": "a.t()", "transpose": "a.transpose(0, 1)", "view": "a.view(-1)", "reshape": "a.reshape(-1)",
    "permute": "a.permute(1, 0)",
    "unsqueeze": "a.unsqueeze(0)", "squeeze": "a.squeeze()", "flatten": "a.flatten()", "expand": "column.expand(-1, 8)",
    "chunk": "a.chunk(2, 1)", "split": "a.split(2)", "unbind": "a.unbind()", "iterate": "list(a)", "detach": "a.detach()",
    "cat": "lib.cat([a, b])", "cat1": "lib.cat([a, b], 1)", "stack": "lib.stack([a, b])", "pad": "F.pad(a, (1, 1))",
    "flip": "a.flip(0)", "roll": "lib.roll(a, 1, 0)", "index_select": "a.index_select(0, i)", "a_i": "a[i]",
    "a_mask": "a[mask]",
    "embedding": "F.embedding(i, a)", "gather": "a.gather(1, i2)", "scatter_add": "a.scatter_add(1, i2, b)",
    "index_add": "a.index_add(0, i, b)", "masked_fill": "a.masked_fill(mask, 0.0)", "where": "lib.where(mask, a, b)",
    "sort": "a.sort()", "argsort": "a.argsort()", "topk": "a.topk(3)", "median": "a.median()", "median_dim": "a.median(1)",
    "kthvalue": "a.kthvalue(2)", "cummax": "a.cummax(1)", "cumsum": "a.cumsum(1)", "cumprod": "a.cumprod(1)", "max": "a.max()",
    "max_dim": "a.max(1)", "argmax": "a.argmax(1)", "sum": "a.sum()", "sum_dim": "a.sum(1)", "mean_dim": "a.mean(0)",
    "sum_transposed": "a.t().sum(1)", "var": "a.var()", "std_dim": "a.std(1)", "norm": "a.norm()", "softmax": "a.softmax(1)",
    "log_softmax": "F.log_softmax(a, 1)", "logsumexp": "a.logsumexp(1)", "lerp": "lib.lerp(a, b, 0.3)",
    "addcmul": "lib.addcmul(a, a, b, value=0.5)", "outer": "lib.outer(row, row)", "mv": "a.mv(row)", "dot": "row.dot(row)",
    "matmul": "a @ b", "matmul_t": "a @ b.t()", "linear": "F.linear(a, b, row)", "bmm": "three.bmm(three.transpose(1, 2))",
    "einsum": "lib.einsum('ij,kj->ik', a, b)", "normalize": "F.normalize(a)", "clamp": "a.clamp(-1, 1)", "relu": "a.relu()",
    "gelu": "F.gelu(a)", "dropout": "F.dropout(a, 0.5)", "layer_norm": "F.layer_norm(a, (row.shape[0],))",
    "mse_loss": "F.mse_loss(a, b)", "cross_entropy": "F.cross_entropy(a, i)", "max_pool2d": "F.max_pool2d(a[None, None], 2)",
    "avg_pool2d": "F.avg_pool2d(a[None, None], 2)", "tril": "a.tril()", "trace": "a.trace()", "diagonal": "a.diagonal()",
    "attention": "F.scaled_dot_product_attention(three, three, three)", "remainder": "a % 1.5", "compare": "a > b",
    "eq": "a == b",
    "any": "mask.any()", "all": "mask.all()", "bincount": "lib.bincount(i)", "nonzero": "mask.nonzero()",
    "unique": "lib.unique(i)",
    "arange": "lib.arange(64)", "zeros": "lib.zeros(8, 8)", "ones_like": "lib.ones_like(a)",
    "full_like": "lib.full_like(a, 2.0)",
    "full": "lib.full((8, 8), 2.0)", "eye": "lib.eye(8)", "rand": "lib.rand(8, 8)", "randn": "lib.randn(8, 8)",
    "bernoulli": "lib.bernoulli(mask.float())", "randperm": "lib.randperm(64)", "tensor_64": "lib.tensor(list64)",
    "tensor_number": "lib.tensor(1.5)", "double": "a.double()", "long": "a.long()", "copy_": "c.copy_(a)", "clone": "a.clone()",
    "contiguous": "a.t().contiguous()", "tolist": "a.tolist()", "numpy": "a.numpy()", "item": "row[0].item()", "from_numpy":
    "lib.from_numpy(array)", "add_": "c.add_(b)", "mul_number_": "c.mul_(1.0)", "zero_": "c.zero_()", "setitem": "c[0] = 1.0",
    "setitem_row": "c[0] = row", "a_column_i": "a[:, i]", "a_i_i": "a[i, i]", "setitem_i": "c[i] = b",
    "setitem_mask": "c[mask] = 0.0", "setitem_i_number": "c[i] = 1.0", "setitem_column_i": "c[:, i] = b",
    "setitem_i_i": "c[i, i] = row", "setitem_column": "c[:, 1] = row", "zero_view": "c[0].zero_()", "a_list": "a[[0, 2]]",
    "a_two_lists": "a[[0, 1], [1, 2]]", "a_i_number": "a[i, 1]", "tensor_ints": "lib.tensor([0, 2])",
    "relu_": "c.relu_()", "clamp_": "c.clamp_(0, 1)", "row_added": "c.add_(row)", "addcmul_": "c.addcmul_(a, b)",
    "index_add_": "c.index_add_(0, i, b)", "masked_fill_": "c.masked_fill_(mask, 0.0)",
    "len": "len(a)", "shape": "a.shape[0]", "repr": "repr(row)", "to_same": "a.to(lib.float32)",
    "inv": "lib.linalg.inv(a)", "det": "lib.linalg.det(a)", "qr": "lib.linalg.qr(a)", "svd": "lib.linalg.svd(a, False)",
    "eigh": "lib.linalg.eigh(a)", "solve": "lib.linalg.solve(a, b)",
}
WITHOUT_GRADIENT = {"compare", "eq", "copy_", "add_", "mul_number_", "zero_", "setitem", "setitem_row", "setitem_i",
                    "setitem_mask", "setitem_i_number", "setitem_column_i", "setitem_i_i", "setitem_column", "zero_view",
                    "relu_", "clamp_", "row_added", "addcmul_", "index_add_", "masked_fill_", "tolist", "numpy",
                    "from_numpy", "len", "shape", "repr", "item", "argsort", "argmax", "long", "to_same", "detach",
                    "ones_like", "full_like"}
SMALL_ONLY = {"element", "arange", "zeros", "full", "eye", "rand", "randn", "randperm", "tensor_64", "tensor_number",
              "tensor_ints", "numpy", "from_numpy", "len", "shape", "repr", "item", "inv", "det", "qr", "svd", "eigh",
              "solve", "tolist", "matmul", "matmul_t", "linear", "expand"}
