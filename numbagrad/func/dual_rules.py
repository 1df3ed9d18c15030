"""Rules of forward mode for ops with kernels of their own: ``rule(level, op, args, params)``.

Ops that are linear take the tangents as they take the primals; products have one term for each factor.
"""

from __future__ import annotations

from ..core.tensor import Tensor
from .dual import dual
from .levels import outside
from .reverse import zeros
from .tables import DUAL_RULES, adder

rule = adder(DUAL_RULES)


def run(op, args, params):
    return outside(op.call_in_order, tuple(args), tuple(params))


@rule("clone", "to_copy", "cumsum_fused", "flipped", "rolled", "repeated", "tril", "triu", "trace", "diag_embed",
      "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "interleaved", "diagonal_copy", "embed", "pile", "mean_windows",
      "spread_windows", "to_columns", "from_columns", "map_axes", "unmap_axes", "collect", "spread", "channel_sum",
      "fft_c2c", "fft_r2c", "fft_c2r", "channel_sums", "slopes", "slope_gradient", "affine_places", "affine_back", "unpooled",
      "map_rows_columns", "unmap_rows_columns", "overlapped", "ranked", "put_back", "quantile_gradient", "quantile_parts",
      "windows_back")
def linear(level, op, args, params):
    """A linear op of one tensor."""
    y = run(op, [level.primal(a) for a in args], params)
    t = level.tangent(args[0])
    if t is None or y._kind.dtype.category < 2:
        return y
    return dual(level, y, run(op, [t, *[level.primal(a) for a in args[1:]]], params))


@rule("constant_pad_nd")
def padded(level, op, args, params):
    """A number around a tensor, which has a slope of zero."""
    y = run(op, [args[0].primal], params)
    return dual(level, y, run(op, [args[0].tangent], (params[0], 0)))


@rule("taken", "piled", "rows_of", "sum_rows", "add_bags", "pick_along", "place_along", "take_at", "add_at")
def at_indices(level, op, args, params):
    """What an op that is linear in its first tensor picks or adds at indices."""
    return linear(level, op, args, params)


@rule("joined", "stacked", "blocks")
def joined(level, op, args, params):
    """Several tensors side by side: those without a tangent have one of zeros."""
    (tensors,) = args
    y = run(op, ([level.primal(t) for t in tensors],), params)
    if y._kind.dtype.category < 2 or not any([level.own(t) for t in tensors]):
        return y
    slopes = [zeros(level.primal(t)) if level.tangent(t) is None else level.tangent(t) for t in tensors]
    return dual(level, y, run(op, (slopes,), params))


@rule("gemm", "matmul_nd", "mv", "dot", "outer_alike", "kron_alike", "crossed", "with_region", "vdot")
def product(level, op, args, params):
    """A product of two tensors, linear in each."""
    a, b = map(level.primal, args)
    y = run(op, (a, b), params)
    s, t = map(level.tangent, args)
    if op.name == "with_region":  # linear in both together
        return dual(level, y, run(op, (zeros(a) if s is None else s, zeros(b) if t is None else t), params))
    terms = ([] if s is None else [run(op, (s, b), params)]) + ([] if t is None else [run(op, (a, t), params)])
    return y if not terms else dual(level, y, terms[0] if len(terms) == 1 else terms[0] + terms[1])


@rule("linear_nd", "convolve_output", "convolve_input")
def layer(level, op, args, params):
    """A product and a bias."""
    x, weight, bias = map(level.primal, args)
    y = run(op, (x, weight, bias), params)
    s, t, u = [None if a is None else level.tangent(a) for a in args]
    terms = ([] if s is None else [run(op, (s, weight, None), params)]) + ([] if t is None else [run(op, (x, t, None), params)])
    if u is not None:
        terms.append(u if op.name == "linear_nd" else u.reshape(-1, *(1,) * (len(y._shape) - 2)))
    if not terms:
        return y
    total = terms[0]
    for more in terms[1:]:
        total = total + more
    return dual(level, y, total if total._shape == y._shape else total.expand(y._shape))


@rule("where_tensors", "where_else", "where_number")
def chosen(level, op, args, params):
    """A choice: the same of the tangents."""
    y = run(op, [level.primal(a) for a in args], [level.primal(p) for p in params])
    if y._kind.dtype.category < 2:
        return y

    def slope(a):
        t = level.tangent(a)
        return (zeros(a) if t is None else t) if isinstance(a, Tensor) and a._kind.dtype.category > 1 else a
    if not any([level.own(a) for a in (*args[1:], *params)]):
        return y
    numbers = [p if isinstance(p, Tensor) else 0 for p in params]
    found = run(op, [level.primal(args[0]), *map(slope, args[1:])], [slope(n) for n in numbers])
    return dual(level, y, found)
