"""Rules of batches for ops with kernels of their own: ``rule(level, op, args, params)`` gives the op's results for a batch.

Most are of a few sorts: ops that take any dimensions before theirs, that count one dimension more, or whose batch may be part
of the one that they have. What is left is said by other operations.
"""

from __future__ import annotations

from ..autograd import engine
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from .batched import batched
from .levels import outside

RULES = {}
# Ops whose arguments say what only their function knows: that is transformed as a whole.
WITH_FUNCTION = {"taken", "placed", "piled", "number_at", "reduced_at", "turned", "collect", "put_at", "spread", "chosen",
                 "returned", "taken_by_mask", "scattered_by_mask", "_full_median", "_picked", "_mode_picked"}


def ops(name):
    """The public function of an op."""
    return REGISTRY[name].callable


def rule(*names):
    """Declare the rule of some ops."""
    def declare(fn):
        RULES.update(dict.fromkeys(names, fn))
        return fn
    return declare


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
    from ..core.creation import arange
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
    from ..base.shapes import contiguous_strides, numel
    steps = contiguous_strides(shape) if strides is None else strides
    return run(level, op, [args[0].value], ((level.size, *size), (level.size, *shape), (numel(size), *steps), offset))


@rule("with_region")
def with_region(level, op, args, params):
    """A copy with a region written into."""
    from ..base.shapes import numel
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


# --- products ---------------------------------------------------------------------------------------------------------

def product(a, b):
    return ops("matmul")(a, b)


def turned(t, wanted):
    """A matrix, or its adjoint."""
    if not wanted:
        return t
    t = t.transpose(-1, -2)
    return t.conj() if t._kind.dtype.is_complex else t


@rule("gemm")
def gemm(level, op, args, params):
    """Products of matrices."""
    a, b = args
    ta, tb = params
    if len(a._shape) == 2 == len(b._shape) and not (level.own(a) and level.own(b)) and not ta and not tb:
        return batched(level, outside(product, level.value(a), level.value(b)))
    return matmul(level, op, (turned(a, ta), turned(b, tb)), ())


@rule("matmul_nd")
def matmul(level, op, args, params):
    """Products in which the batch is one dimension more of those before the matrices."""
    a, b = args
    row, column = len(a._shape) == 1, len(b._shape) == 1
    if row:
        a = a.unsqueeze(0)
    if column:
        b = b.unsqueeze(-1)
    rank = max(len(a._shape), len(b._shape))
    out = batched(level, outside(product, level.lined_up(a, rank), level.lined_up(b, rank)))
    if column:
        out = out.squeeze(-1)
    return out.squeeze(-1 if column else -2) if row else out


@rule("mv")
def mv(level, op, args, params):
    """A matrix and a vector."""
    return matmul(level, op, args, ())


@rule("dot", "vdot")
def dot(level, op, args, params):
    """Two vectors."""
    a, b = args
    return ((a.conj() if op.name == "vdot" else a) * b).sum(-1)


@rule("linear_nd")
def linear(level, op, args, params):
    """A layer; the weights of each element are those of a product of matrices."""
    x, weight, bias = args
    if not level.own(weight) and (bias is None or not level.own(bias)):
        return batched(level, outside(op.call, x.value, weight, bias))
    if len(weight._shape) == 1:
        out = product(x, weight)
    elif len(x._shape) == 2:
        out = product(x, weight.transpose(0, 1))
    else:
        out = product(x.reshape(-1, x._shape[-1]), weight.transpose(0, 1)).reshape(*x._shape[:-1], weight._shape[0])
    return out if bias is None else out + bias


@rule("gemm_add")
def gemm_add(level, op, args, params):
    """A product added to a tensor."""
    return weighted(args[0], product(*args[1:]), *params)


@rule("gemm_sum_add")
def gemm_sum_add(level, op, args, params):
    """A sum of products added to a tensor."""
    return weighted(args[0], product(*args[1:]).sum(0), *params)


@rule("addmv")
def addmv(level, op, args, params):
    """A product with a vector added to one."""
    return weighted(args[0], product(*args[1:]), *params)


@rule("addr_alike")
def addr(level, op, args, params):
    """A product of a column and a row added to a matrix."""
    return weighted(args[0], args[1].unsqueeze(-1) * args[2], *params)


def weighted(input, out, beta, alpha):
    """``beta * input + alpha * out``, where ``beta`` zero leaves out what is not finite."""
    out = out if alpha == 1 else out * alpha
    if beta == 0:
        return out
    return out + (input if beta == 1 else input * beta)


@rule("outer_alike")
def outer(level, op, args, params):
    """A column times a row."""
    return args[0].unsqueeze(-1) * args[1]


@rule("kron_alike")
def kron(level, op, args, params):
    """Each element times a tensor: products of all, side by side."""
    a, b = args
    n = max(len(a._shape), len(b._shape))
    p, q = ((1,) * (n - len(t._shape)) + t._shape for t in (a, b))
    left = a.reshape([s for x in p for s in (x, 1)])
    right = b.reshape([s for y in q for s in (1, y)])
    return (left * right).reshape([x * y for x, y in zip(p, q)])


# --- layers -----------------------------------------------------------------------------------------------------------

@rule("rows_of")
def rows_of(level, op, args, params):
    """Rows of a table: of one for all, or of that of each element, behind one another."""
    weight, index = args
    if not level.own(weight):
        return run(level, op, [weight, index.value], params)
    padding, scale = params
    if scale:
        return NotImplemented
    rows = weight._shape[0]
    if padding >= 0:
        return NotImplemented
    index = level.spread(index)
    from ..core.creation import arange
    first = (arange(level.size) * rows).reshape(level.size, *(1,) * (len(index._shape) - 1))
    return batched(level, outside(op.call, weight.value.reshape(level.size * rows, *weight.value._shape[2:]), index + first))


def affine(out, weight, bias, view=None):
    """``out * weight + bias`` of those that are there."""
    if weight is not None:
        out = out * (weight if view is None else weight.reshape(view))
    if bias is not None:
        out = out + (bias if view is None else bias.reshape(view))
    return out


@rule("layer_norm_fused")
def layer_norm(level, op, args, params):
    """Normalized rows, then weights that may be of the batch."""
    x, weight, bias = args
    own = [t for t in (weight, bias) if t is not None and level.own(t)]
    if not own and level.own(x):
        return run(level, op, [x.value, weight, bias], params)
    bare = level.wrap(outside(op.call_in_order, (level.spread(x), None, None), tuple(params)))
    return affine(bare[0], weight, bias), bare[1]


@rule("group_norm_fused")
def group_norm(level, op, args, params):
    """Normalized groups: the batch becomes part of the layer's."""
    x, weight, bias = args
    value = level.spread(x)
    n = value._shape[1]
    own = any([t is not None and level.own(t) for t in (weight, bias)])
    flat = value.reshape(level.size * n, *value._shape[2:])
    out, aux = outside(op.call_in_order, (flat, *((None, None) if own else (weight, bias))), tuple(params))
    out = batched(level, out.reshape(value._shape))
    return affine(out, weight, bias, (-1, *(1,) * (len(x._shape) - 2))) if own else out, aux


@rule("batch_norm_fused")
def batch_norm(level, op, args, params):
    """Normalized channels: those of all elements side by side."""
    x, weight, bias, mean, var = args
    training = params[op.params.index("training")]
    if training and mean is not None and not level.own(mean):
        raise RuntimeError("Batch norm got a batched tensor as input while the running_mean or running_var, which will be "
                           "updated "
                           "in place, were not batched.\nIf you are using a module and do not need eval mode, please set "
                           "`track_running_stats` to be False.If you are using a prebuilt module and do not need eval mode, "
                           "please "
                           "see the functorch website for resources on how to patch your module to work with vmap")
    value = level.spread(x)
    channels = value._shape[2]

    def flat(t):
        return None if t is None else level.spread(t).reshape(level.size * channels)
    wide = value.movedim(0, 1).reshape(value._shape[1], level.size * channels, *value._shape[3:])
    out, aux = outside(op.call_in_order, (wide, *map(flat, (weight, bias, mean, var))), tuple(params))
    return batched(level, out.reshape(value._shape[1], level.size, channels, *value._shape[3:]).movedim(1, 0)), aux


# --- convolution ------------------------------------------------------------------------------------------------------

def into(value, at):
    """The batch in front made part of dimension ``at`` behind it, outside of that."""
    value = value.movedim(0, at)
    shape = value._shape
    return value.reshape(*shape[:at], shape[at] * shape[at + 1], *shape[at + 2:])


def out_of(value, at, size):
    """The reverse of ``into``."""
    shape = value._shape
    return value.reshape(*shape[:at], size, shape[at] // size, *shape[at + 1:]).movedim(at, 0)


@rule("convolve_output", "convolve_input")
def convolve(level, op, args, params):
    """Convolutions: a batch of images joins those there are, one of weights makes groups."""
    x, weight, bias = args
    groups = op.params.index("groups")
    if not level.own(weight):
        own = bias is not None and level.own(bias)
        out = op.call_in_order((into(level.spread(x), 0), weight, None if own else bias), params)
        out = batched(level, out_of(out, 0, level.size))
    else:
        # Channels of each element are groups of their own.
        more = [p * level.size if i == groups else p for i, p in enumerate(params)]
        wide = into(level.spread(x), 1)
        out = batched(level, out_of(op.call_in_order((wide, into(weight.value, 0), None), more), 1, level.size))
        own = bias is not None
    return affine(out, None, bias, (-1, *(1,) * (len(out._shape) - 2))) if own else out


@rule("convolve_weight")
def convolve_weight(level, op, args, params):
    """Gradients of weights: those of each element are of groups of their own."""
    groups = op.params.index("groups")
    more = [p * level.size if i == groups else p for i, p in enumerate(params)]
    out = op.call_in_order(tuple([into(level.spread(a), 1) for a in args]), more)
    return batched(level, out_of(out, 0, level.size))


# --- losses and attention ---------------------------------------------------------------------------------------------

def reduced(level, op, args, params):
    """A mean or a sum of an elementwise loss."""
    whole = REGISTRY[op.name.removesuffix("_reduced")]
    given = dict(zip(op.params, params))
    mean = given.pop("mean")
    out = whole.call(*args, *given.values())
    return out.mean() if mean else out.sum()


RULES.update({name + "_reduced": reduced for name in (
    "bce_with_logits_full", "bce_with_logits_pointwise", "bce_with_logits_weighted", "binary_cross_entropy_pointwise",
    "binary_cross_entropy_weighted", "hinge_embedding_loss_pointwise", "huber_loss_pointwise", "kl_div_log_pointwise",
    "kl_div_pointwise", "l1_loss_pointwise", "mse_loss_pointwise", "smooth_l1_loss_pointwise", "soft_margin_loss_pointwise")})


@rule("cross_entropy_fused", "nll_fused")
def cross_entropy(level, op, args, params):
    """Minus the logarithm of the class's probability; 0, 1 and 2 of ``reduction`` are none, the mean and the sum."""
    x, target, weight = args
    given = dict(zip(op.params, params))
    if given.get("label_smoothing", 0.0):
        return NotImplemented
    dim = 0 if len(x._shape) == 1 else 1
    logs = ops("log_softmax")(x, dim) if op.name == "cross_entropy_fused" else x
    kept = target != given["ignore_index"]
    index = ops("where")(kept, target, 0)
    picked = -ops("gather")(logs, dim, index.unsqueeze(dim)).squeeze(dim)
    weights = kept.to(x.dtype) if weight is None else ops("where")(kept, weight[index], 0.0)
    losses = ops("where")(kept, picked * weights, 0.0)
    if given["reduction"] == 0:
        return losses, None
    return (losses.sum() / weights.sum() if given["reduction"] == 1 else losses.sum()), None


@rule("attention")
def attention(level, op, args, params):
    """Attention: the batch joins the one there is."""
    def part(t):
        return None if t is None else into(level.spread(t), 0)
    query, key, value, mask = args
    if mask is not None and (mask._shape[0] != query._shape[0] or len(mask._shape) != len(query._shape)):
        mask = mask.expand(query._shape[0], *(mask._shape[1:] if len(mask._shape) == 4 else mask._shape[-3:]))
    out, lse = outside(op.call_in_order, tuple(map(part, (query, key, value, mask))), tuple(params))
    # The result's dimensions may come in another order.
    at = 1 if params[op.params.index("order")] == 2 else 0
    return batched(level, out_of(out, at, level.size)), batched(level, out_of(lse, 0, level.size))


# --- indices ----------------------------------------------------------------------------------------------------------

def by_index(level, op, tensors, index, params, shape=None):
    """An op at the places of one index tensor. The index of ``gather`` and its kin has the tensor's dimensions, and gets the
    batch with it; to others, if they are the same for all, the batch is a last dimension more."""
    given = dict(zip(op.params, params))
    aligned = given["where"].__name__ in ("_gathered", "_turned", "where")
    rank = len(given["shape"] if "shape" in given else tensors[0]._shape)
    if not rank:
        return NotImplemented
    if aligned and len(index._shape) == rank and all([len(t._shape) == rank for t in tensors]):
        later = shifted(op, params, rank)
        later = [(level.size, *p) if n == "shape" else p for n, p in zip(op.params, later)]
        return run(level, op, [*map(level.spread, tensors), level.spread(index)], later)
    if aligned or level.own(index) or given["where"].__name__ not in (
            "of_first", "_selected", "_copied", "_index_added", "_filled"):
        return NotImplemented
    later = [p % rank if n == "dim" else (*p, level.size) if n == "shape" else p for n, p in zip(op.params, params)]
    return batched(level, outside(op.call_in_order, (*[level.spread(t).movedim(0, -1) for t in tensors], index), tuple(later)
                                  ).movedim(-1, 0))


@rule("taken", "piled", "placed")
def at_index(level, op, args, params):
    """Elements at one index tensor."""
    if engine.current_run() is None:
        return NotImplemented
    *tensors, index = args
    if op.name == "placed" and len(tensors[0]._shape) != len(tensors[1]._shape):
        return NotImplemented
    return by_index(level, op, tensors, index, params)


@rule("channel_sum")
def channel_sum(level, op, args, params):
    """Sums over all but the second dimension."""
    rank = len(args[0]._shape)
    return args[0].sum([d for d in range(rank) if d != 1])


@rule("sum_rows")
def sum_rows(level, op, args, params):
    """Rows added at indices: those of each element behind the ones before."""
    g, index = args
    given = dict(zip(op.params, params))
    if given["padding_idx"] >= 0 or given["scale_grad_by_freq"]:
        return NotImplemented
    from ..core.creation import arange
    index = level.spread(index)
    rows = given["rows"]
    first = (arange(level.size) * rows).reshape(level.size, *(1,) * (len(index._shape) - 1))
    more = [p * level.size if n == "rows" else p for n, p in zip(op.params, params)]
    out = outside(op.call_in_order, (level.spread(g), index + first), tuple(more))
    return batched(level, out.reshape(level.size, rows, *out._shape[1:]))
