"""Rules of batches for ops with kernels of their own: ``rule(level, op, args, params)`` gives the op's results for a batch.

Most are of a few sorts: ops that take any dimensions before theirs, that count one dimension more, or whose batch may be part
of the one that they have. What is left is said by other operations.
"""

from __future__ import annotations

from ..base.shapes import contiguous_strides, numel
from ..core.creation import arange
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
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
      "quotient_of_ends")
def behind(level, op, args, params):
    """An op of one tensor that takes any dimensions before those that it works on."""
    return run(level, op, [level.value(a) for a in args], params)


@rule("clone")
def clone(level, op, args, params):
    """A copy; the order of its memory is that of the values."""
    return run(level, op, [args[0].value], (None,))


@rule("linalg_solve_triangular", "linalg_solve", "cofactors_gradient", "euclidean", "to_places", "from_places",
      "igamma_lower", "igamma_upper", "beta_slope", "gamma_slope")
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


@rule("glu", "glu_backward", "crossed", "log_softmax_forward", "log_softmax_backward", "softmax_forward", "softmax_backward",
      "cumprod_fused", "cumsum_fused", "decayed_sum", "logcumsumexp_fused", "product_gradient", "linear_recurrence",
      "cumulative_extremum", "take_at", "add_at", "positions", "_most_frequent", "flipped")
def along(level, op, args, params):
    """An op along dimensions, whose tensors have the same."""
    rank = max([len(a._shape) for a in args if isinstance(a, Tensor)])
    if not rank:
        return NotImplemented
    return run(level, op, [level.spread(a) if isinstance(a, Tensor) else a for a in args], shifted(op, params, rank))


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


@rule("pick_along")
def pick_along(level, op, args, params):
    """Elements at indices along a dimension that is not kept, or kept as one."""
    if not args[0]._shape:
        return NotImplemented
    return run(level, op, [level.spread(a) for a in args], shifted(op, params, len(args[0]._shape)))


@rule("place_along")
def place_along(level, op, args, params):
    """The gradient of ``pick_along``."""
    given = dict(zip(op.params, params))
    shape = given["shape"]
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


@rule("with_region")
def with_region(level, op, args, params):
    """A copy with a region written into."""
    x, src = args
    size, stride, offset = params
    return run(level, op, [level.spread(x), level.spread(src)], ((level.size, *size), (numel(x._shape), *stride), offset))


@rule("channel_shuffle")
def merged(level, op, args, params):
    """An op that has a batch, which takes this one in."""
    value = args[0].value
    n = value._shape[1]
    out = outside(op.call_in_order, (value.reshape(level.size * n, *value._shape[2:]),), tuple(params))
    return batched(level, out.reshape(level.size, n, *out._shape[1:]))


@rule("channel_sum")
def channel_sum(level, op, args, params):
    """Sums over all but the second dimension."""
    rank = len(args[0]._shape)
    return args[0].sum([d for d in range(rank) if d != 1])
