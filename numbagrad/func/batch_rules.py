"""Rules of batches for ops with kernels of their own: ``rule(level, op, args, params)`` gives the op's results for a batch.

Most are of a few sorts: ops that take any dimensions before theirs, that count one dimension more, or whose batch may be part
of the one that they have. What is left is said by other operations.
"""

from __future__ import annotations

from ..base.shapes import contiguous_strides, numel
from ..core.creation import arange
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from . import trees
from .batched import batched
from .levels import outside
from .tables import BATCH_RULES, adder


def ops(name):
    """The public function of an op."""
    return REGISTRY[name].callable


rule = adder(BATCH_RULES)


def run(level, op, args, params):
    """The op of values, as tensors of the level."""
    return level.wrap(outside(op.call_in_order, tuple(args), tuple(params)))


# --- sorts of ops -----------------------------------------------------------------------------------------------------

@rule("to_copy", "abs_complex", "sgn_complex", "angle_complex", "tril", "triu", "constant_pad_nd", "pixel_shuffle",
      "pixel_unshuffle", "matrix_exp", "linalg_cholesky", "linalg_eigh", "linalg_qr", "linalg_svd", "singular_values_alone",
      "cofactors", "linalg_det", "linalg_slogdet", "general_values", "linalg_eig", "hermitian_values", "reflections",
      "elimination", "linalg_inv",
      "max_windows", "mean_windows", "spread_windows", "to_columns", "from_columns", "map_axes", "unmap_axes",
      "quotient_of_ends", "frexp_bits", "map_rows_columns", "unmap_rows_columns", "overlapped")
def behind(level, op, args, params):
    """An op of one tensor that takes any dimensions before those that it works on."""
    return run(level, op, [level.value(a) for a in args], params)


@rule("clone")
def clone(level, op, args, params):
    """A copy; the order of its memory is that of the values."""
    return run(level, op, [args[0].value], (None,))


@rule("linalg_solve_triangular", "linalg_solve", "cofactors_gradient", "euclidean", "to_places", "from_places",
      "igamma_lower", "igamma_upper", "beta_slope", "gamma_slope", "nextafter_bits", "unpooled")
def all_behind(level, op, args, params):
    """``behind`` of several tensors, all of which get the batch."""
    rank = max([len(a._shape) for a in args if isinstance(a, Tensor)])
    if any([isinstance(a, Tensor) and len(a._shape) != rank for a in args]) and op.name != "linalg_solve":
        return NotImplemented
    return run(level, op, [level.spread(a) if isinstance(a, Tensor) else a for a in args], params)


@rule("where_tensors", "where_else", "where_number", "from_parts", "from_polar", "filled")
def pointwise(level, op, args, params):
    """An op that broadcasts its tensors."""
    rank = max([len(a._shape) for a in args if isinstance(a, Tensor)])
    if op.name == "filled" and isinstance(args[2], Tensor) and level.own(args[2]):
        return ops("where")(args[1], args[2], args[0])
    return run(level, op, [level.lined_up(a, rank) if isinstance(a, Tensor) else a for a in args],
               [level.lined_up(p, rank) if isinstance(p, Tensor) else p for p in params])


def shifted(op, params, rank):
    """The parameters with every dimension counted from one later."""
    def later(d):
        return d % max(rank, 1) + 1
    found = []
    for n, p in zip(op.params, params):
        if n == "dim" and p is None:
            p = tuple(range(1, rank + 1))
        elif n in ("dim", "dims", "dim0", "dim1") and p is not None:
            p = tuple(map(later, p)) if isinstance(p, (tuple, list)) else later(p)
        found.append(p)
    return found


# Ops to which a number is a row of one.
ALONE = {"log_softmax_forward", "log_softmax_backward", "softmax_forward", "softmax_backward", "cumprod_fused", "cumsum_fused",
         "logcumsumexp_fused", "cumulative_extremum", "positions"}


@rule("glu", "glu_backward", "crossed", "log_softmax_forward", "log_softmax_backward", "softmax_forward", "softmax_backward",
      "cumprod_fused", "cumsum_fused", "decayed_sum", "logcumsumexp_fused", "product_gradient", "linear_recurrence",
      "cumulative_extremum", "take_at", "add_at", "positions", "_most_frequent", "flipped", "fft_c2c", "fft_r2c", "fft_c2r",
      "slopes", "slope_gradient")
def along(level, op, args, params):
    """An op along dimensions, whose tensors have the same."""
    rank = max([len(a._shape) for a in args if isinstance(a, Tensor)])
    values = [level.spread(a) if isinstance(a, Tensor) else a for a in args]
    if not rank:
        if op.name not in ALONE:
            return NotImplemented
        values = [v.unsqueeze(1) if isinstance(v, Tensor) else v for v in values]
    found = run(level, op, values, shifted(op, params, rank))
    return found if rank else trees.map_tree(lambda t: t.squeeze(0), found)


@rule("aminmax_fused", "logsumexp_fused", "norm_p", "variance", "extremum", "place_of", "_positions")
def folded(level, op, args, params):
    """A reduction of one tensor."""
    value, rank = args[0].value, len(args[0]._shape)
    given = dict(zip(op.params, params))
    if not rank or op.name == "place_of" and given["dim"] is None:
        if given.get("keepdim") and rank:
            return NotImplemented
        value, rank = value.reshape(value._shape[0], args[0]._n), 1
        params = [0 if n == "dim" else False if n == "keepdim" else p for n, p in zip(op.params, params)]
    found = shifted(op, params, rank)
    if op.name in ("aminmax_fused", "extremum", "place_of", "_positions"):
        found = [p[0] if isinstance(p, tuple) and len(p) == 1 else p for p in found]
    return run(level, op, [value], found)


@rule("drawn_maxima", "product", "applied")
def each_behind(level, op, args, params):
    """An op of several tensors with other numbers of dimensions, each of which may have more before them."""
    return run(level, op, [level.spread(a) for a in args], params)


@rule("pick_along", "ranked")
def pick_along(level, op, args, params):
    """Elements at indices along a dimension that is not kept, or kept as one."""
    if op.name == "ranked" and not args[0]._shape:
        return args[0].clone()
    if not args[0]._shape:
        return NotImplemented
    return run(level, op, [level.spread(a) for a in args], shifted(op, params, len(args[0]._shape)))


@rule("place_along", "put_back")
def place_along(level, op, args, params):
    """The gradient of ``pick_along``."""
    given = dict(zip(op.params, params))
    shape = given["shape"]
    if op.name == "put_back" and not shape:
        return args[0].clone()
    if not shape:
        return NotImplemented
    values = [(level.size, *shape) if n == "shape" else p for n, p in zip(op.params, shifted(op, params, len(shape)))]
    return run(level, op, [level.spread(a) for a in args], values)


@rule("extremum_gradient")
def extremum_gradient(level, op, args, params):
    """The gradient of reductions to an extreme."""
    rank = len(args[1]._shape)
    if not rank:
        return NotImplemented
    return run(level, op, [level.spread(a) for a in args], shifted(op, params, rank))


@rule("joined", "stacked")
def joined(level, op, args, params):
    """Several tensors side by side."""
    (tensors,) = args
    ranks = {len(t._shape) for t in tensors}
    rank = max(ranks) + (op.name == "stacked")
    if len(ranks) > 1 or not rank:
        return NotImplemented
    return run(level, op, [[level.spread(t) for t in tensors]], shifted(op, params, rank))


@rule("rolled")
def rolled(level, op, args, params):
    """Elements moved along dimensions, or along all as one."""
    x, (shifts, dims) = args[0], params
    if not dims:
        return batched(level, outside(op.call, x.value.reshape(level.size, -1), shifts, (1,)).reshape(x.value._shape))
    return run(level, op, [x.value], (shifts, tuple([d + 1 for d in dims])))


@rule("repeated")
def repeated(level, op, args, params):
    """Copies side by side; there may be dimensions before."""
    repeats = params[0]
    return run(level, op, [level.lined_up(args[0], len(repeats))], ((1, *repeats),))


@rule("interleaved")
def interleaved(level, op, args, params):
    """Each slice several times."""
    repeats, dim = params
    if dim is None:
        return batched(level, outside(op.call, args[0].value.reshape(level.size, args[0]._n), repeats, 1))
    return run(level, op, [args[0].value], (repeats, dim + 1))


@rule("diag_embed")
def diag_embed(level, op, args, params):
    """Diagonals of matrices."""
    offset, dim1, dim2 = params
    rank = len(args[0]._shape) + 1
    return run(level, op, [args[0].value], (offset, dim1 % rank + 1, dim2 % rank + 1))


@rule("diagonal_copy")
def diagonal_copy(level, op, args, params):
    """A diagonal of a matrix."""
    return args[0].diagonal(params[0]).clone()


@rule("power_table")
def power_table(level, op, args, params):
    """Powers of each element, in a row."""
    n, increasing = params
    powers = arange(n) if increasing else arange(n - 1, -1, -1)
    return args[0].unsqueeze(-1) ** powers


@rule("trace")
def trace(level, op, args, params):
    """The sum of a diagonal."""
    return args[0].diagonal().sum(-1)


@rule("embed", "pile")
def embed(level, op, args, params):
    """The gradient of a view: the place of each element of the batch lies behind that of the one before."""
    size, shape, strides, offset = params
    steps = contiguous_strides(shape) if strides is None else strides
    return run(level, op, [args[0].value], ((level.size, *size), (level.size, *shape), (numel(size), *steps), offset))


@rule("windows_back")
def windows_back(level, op, args, params):
    """Sums of windows along a dimension, one further in the batch."""
    shape, dimension, size, step = params
    return run(level, op, [args[0].value], ((level.size, *shape), dimension + 1, size, step))


@rule("with_region")
def with_region(level, op, args, params):
    """A copy with a region written into."""
    x, src = args
    size, stride, offset = params
    return run(level, op, [level.spread(x), level.spread(src)], ((level.size, *size), (numel(x._shape), *stride), offset))


@rule("channel_shuffle", "channel_sums", "affine_places", "affine_back", "grid_values", "grid_back", "grid_second",
      "rows_of_lengths", "label_sums", "label_gradient")
def merged(level, op, args, params):
    """An op of tensors that have a batch, which takes this one in; what is not wanted is empty, and has none."""
    out = outside(op.call_in_order, tuple([rows_of_all(level, a) for a in args]), tuple(params))
    return tuple([apart(level, t) for t in out]) if isinstance(out, (tuple, list)) else apart(level, out)


def rows_of_all(level, t):
    """The rows of each element behind those of the one before."""
    value = level.spread(t)
    return value.reshape(level.size * value._shape[1], *value._shape[2:])


def apart(level, value):
    """The reverse of ``rows_of_all``."""
    return batched(level, value.reshape(level.size, value._shape[0] // level.size, *value._shape[1:]))


@rule("margin_sums", "margin_gradient")
def margins(level, op, args, params):
    """``merged`` of rows whose classes have weights, the same in every row."""
    *tensors, weight = args
    if weight is not None and level.own(weight):
        return NotImplemented
    return apart(level, outside(op.call_in_order, (*[rows_of_all(level, t) for t in tensors], weight), tuple(params)))


@rule("channel_sum")
def channel_sum(level, op, args, params):
    """Sums over all but the second dimension."""
    rank = len(args[0]._shape)
    return args[0].sum([d for d in range(rank) if d != 1])
