"""Reductions: a fold over dimensions given by start value, combination and finish.

    @reduction(start=0.0, finish=lambda acc, n: acc / n)
    def mean(acc, x):
        '''Mean over dimensions.'''
        return acc + x

The scalar functions are traced as in elementwise ops. Two loops come from them: *rows* folds the innermost dimension,
*columns* folds an outer one while the accumulators of a whole row stay in a scratch line; every other set of dimensions
is brought to one of the two by a copy with the reduced dimensions last.
"""

from __future__ import annotations

import inspect

import numpy as np

from .. import dtypes as dt
from .. import storage
from ..kernel import emit, expr, jit
from ..tensor import numel, wrap_dim
from .custom import Custom, CustomNode
from .record import grad_name

LANES = 64   # independent accumulators of a fold that may not be reassociated
BLOCK = 512  # elements summed in the compute type before going into the wide accumulator


class Reduction(Custom):
    """An op that folds dimensions; the call is ``op(input, dim=None, keepdim=False, *, dtype=None)``."""

    kind = "reduction"

    def __init__(self, fn, *, start, finish=None, map=None, wide=False, result=None, accepts="any", empty=True, names=None,
                 **options):
        self.combine = fn
        self.start, self.finish_fn, self.map_fn, self.wide = start, finish, map, wide
        self.result, self.accepts, self.allows_empty = result, accepts, empty
        fn_name = options.pop("name", None) or fn.__name__

        def shape_rule(input, dim: object = None, keepdim: bool = False):
            return self.infer(input, dim, keepdim)
        shape_rule.__name__, shape_rule.__doc__ = fn_name, fn.__doc__
        shape_rule.__module__ = fn.__module__
        shape_rule.__qualname__ = fn_name
        options.setdefault("dtypes", "float" if accepts == "float" else "any")
        super().__init__(shape_rule, name=fn_name, node=names[0] if names else None, contiguous=False, **options)
        by_dim = names[1] if names else grad_name(fn_name)
        self.node_by_dim = type(by_dim, (CustomNode,), {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.cpu_launch = self.fold
        self.made = {}

    def node_for(self, params):
        return self.node_class if params[0] is None else self.node_by_dim

    # --- types and shapes

    def compute_type(self, d):
        if self.accepts == "float" and d.category < 2:
            return dt.get_default_dtype()
        return d

    def result_dtype(self, d):
        if self.result == "bool":
            return dt.bool_
        if self.result == "sum" and d.category < 2:
            return dt.int64
        return d

    def infer(self, input, dim, keepdim):
        d = input._kind.dtype
        if self.accepts == "float" and d.category < 2:
            raise RuntimeError(f"{self.name}(): could not infer output dtype. Input dtype must be either a floating point "
                               f"or complex dtype. Got: {dt.scalar_name(d)}")
        if self.accepts == "real" and d.is_complex:
            raise RuntimeError(f"{self.name}(): not implemented for '{dt.scalar_name(d)}'")
        dims = normalize_dims(dim, len(input._shape))
        if not self.allows_empty:
            for i in dims:
                if input._shape and input._shape[i] == 0:
                    raise IndexError(f"{self.name}(): Expected reduction dim {i} to have non-zero size.")
        shape = tuple((1 if i in dims else s) for i, s in enumerate(input._shape) if keepdim or i not in dims)
        return shape, storage.kind_of(self.result_dtype(d), input._kind.device)

    # --- kernels

    def fold(self, out, input, dim, keepdim):
        """Run the loops of this reduction into ``out``."""
        from ..copying import contiguous_copy
        from .call import raw_view
        shape = input._shape
        dims = normalize_dims(dim, len(shape))
        if out._n == 0:
            return
        count = 1
        for i in dims:
            count *= shape[i] if shape else 1
        kept = [i for i in range(len(shape)) if i not in dims]
        t = input
        if t._strides is not None or not _adjacent(dims, len(shape)):
            t = contiguous_copy(raw_view(input, [*kept, *dims]) if shape else input)
            outer, inner = out._n, 1
        else:
            first = dims[0] if dims else len(shape)
            outer = numel(shape[:first])
            inner = numel(shape[dims[-1] + 1:]) if dims else 1
        code, out_code = t._kind.dtype.code, out._kind.dtype.code
        acc = self.accumulator(t._kind.dtype)
        scratch = np.empty(max(LANES, inner), np.complex128)  # wide enough for every accumulator type
        where = storage.address(scratch)
        if inner == 1:
            self.native("rows", code, out_code, acc)(t._ptr, out._ptr, where, count, 0, outer)
        else:
            self.native("columns", code, out_code, acc)(t._ptr, out._ptr, where, count, inner, 0, outer)

    def accumulator(self, d):
        """Code of the accumulator's type: wider than the input where a long sum would lose digits."""
        compute = d.compute
        if self.wide:
            return {"f4": "f8", "c8": "c16", "f8": "f8", "c16": "c16"}.get(compute, "i8")
        return compute

    def native(self, form, code, out_code, acc):
        key = (form, code, out_code, acc)
        entry = self.made.get(key)
        if entry is None:
            entry = self.made[key] = self._build(*key)
        return entry

    def _scalar(self, fn, names, code):
        """(lines, result, function names) of one of the scalar functions."""
        out = expr.trace(fn, names)
        consts, body, results, used = expr.lines(out, code, prefix=fn.__name__.strip("<>") + "_")
        return consts + body, results[0], used

    def _build(self, form, code, out_code, acc):
        from .call import dt as types
        compute = types.BY_CODE[code].compute
        start = self.start(types.BY_CODE[code]) if callable(self.start) else self.start
        used, finish = set(), self.finish_fn
        parts = {}
        parts["combine"] = self._inline("combine", self.combine, ["acc", "x"], acc, used)
        parts["merge"] = self._inline("merge", self.combine, ["acc", "x"], acc, used)
        parts["part"] = self._inline("part", self.combine, ["acc", "x"], compute, used)
        if self.map_fn:
            parts["map"] = self._inline("map_", self.map_fn, ["x"], compute, used)
        if finish:
            parts["finish"] = self._inline("finish", finish, ["acc", "n"], acc, used)
        env, keys = {}, [repr((code, out_code, acc))]
        for c, names in used:
            e, k = emit.functions(sorted(names), c)
            env.update(e)
            keys.append(k)
        env["load"], k1 = jit._Cast.get("load", code)
        env["store"], k2 = jit._Cast.get("store", out_code)
        env["T"], env["A"] = jit._Cast.get("T", compute)[0], jit._Cast.get("T", acc)[0]
        for name, (text, c) in parts.items():
            fn = jit.define(text, text[4:text.index("(")], {**env, "T": jit._Cast.get("T", c)[0],
                                                          "__name__": "numbagrad.kernel.generated"})
            env[name] = jit.nb().njit(forceinline=True, error_model="numpy", fastmath=set(
                jit.REDUCE if self.wide and name in ("part", "combine") else jit.FAST))(fn)
            keys.append(text + c)
        first = f"A({start!r})" if not isinstance(start, float) or np.isfinite(start) else f'A(float("{start!r}"))'
        if acc == "b1":
            first = repr(bool(start))
        text = ROWS_WIDE if form == "rows" and self.wide else ROWS if form == "rows" else COLUMNS
        value = "map(load(x[{}]))" if self.map_fn else "load(x[{}])"
        text = (text.replace("START", first).replace("FIRST", first.replace("A(", "T(", 1)).replace("LANES", str(LANES))
                .replace("BLOCK", str(BLOCK)).replace("ptr_x", "ptr_" + code).replace("ptr_o", "ptr_" + out_code)
                .replace("ptr_acc", "ptr_" + acc))
        import re
        text = re.sub(r"VALUE\[([^\]]+)\]", lambda m: value.format(m.group(1)), text)
        text = text.replace("FINISH(", "finish(" if finish else "keep(")
        env["keep"] = _keep()
        letters = "iiiiii" if form == "rows" else "iiiiiii"
        return jit.compile_source(text, "fold", letters, env, "\n".join([*keys, k1, k2]),
                                  jit.REDUCE if self.wide else jit.FAST).entry

    def _inline(self, name, fn, args, code, used):
        out = expr.trace(fn, args)
        consts, body, results, names = expr.lines(out, code)
        if names:
            used.add((code, tuple(names)))
        lines = "".join(f"    {s}\n" for s in consts + body)
        return f"def {name}({', '.join(args)}):\n{lines}    return {results[0]}\n", code


ROWS = """def fold(x_a, out_a, scratch_a, count, start, stop):
    x = ptr_x(x_a)
    out = ptr_o(out_a)
    s = ptr_acc(scratch_a)
    whole = count - count % LANES
    for row in range(start, stop):
        base = row * count
        acc = START
        if whole > 0:
            for k in range(LANES):
                s[k] = START
            for i in range(0, whole, LANES):
                for k in range(LANES):
                    s[k] = combine(A(s[k]), A(VALUE[base + i + k]))
            for k in range(LANES):
                acc = A(merge(acc, A(s[k])))
        for i in range(whole, count):
            acc = A(merge(acc, A(VALUE[base + i])))
        out[row] = store(FINISH(acc, A(count)))
"""
ROWS_WIDE = """def fold(x_a, out_a, scratch_a, count, start, stop):
    x = ptr_x(x_a)
    out = ptr_o(out_a)
    for row in range(start, stop):
        base = row * count
        acc = START
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            part_ = FIRST
            for i in range(first, last):
                part_ = T(part(part_, VALUE[base + i]))
            acc = A(merge(acc, A(part_)))
        out[row] = store(FINISH(acc, A(count)))
"""
COLUMNS = """def fold(x_a, out_a, scratch_a, count, inner, start, stop):
    x = ptr_x(x_a)
    out = ptr_o(out_a)
    s = ptr_acc(scratch_a)
    for row in range(start, stop):
        for j in range(inner):
            s[j] = START
        for i in range(count):
            base = (row * count + i) * inner
            for j in range(inner):
                s[j] = merge(A(s[j]), A(VALUE[base + j]))
        for j in range(inner):
            out[row * inner + j] = store(FINISH(A(s[j]), A(count)))
"""
_kept = []


def _keep():
    if not _kept:
        fn = jit.define("def keep(acc, n):\n    return acc\n", "keep", {})
        _kept.append(jit.nb().njit(forceinline=True)(fn))
    return _kept[0]


def _adjacent(dims, ndim):
    return not dims or list(dims) == list(range(dims[0], dims[-1] + 1))


def normalize_dims(dim, ndim):
    """Sorted, wrapped, distinct dimension numbers; all of them for None."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return list(range(ndim))
    dims = [dim] if isinstance(dim, int) or hasattr(dim, "__index__") else list(dim)
    out = [wrap_dim(int(d), ndim) for d in dims]
    if len(set(out)) != len(out):
        twice = next(d for d in out if out.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return sorted(out) if ndim else []


def reduction(fn=None, **options):
    """Declare a reduction: ``fn(acc, x)`` combines; ``start`` is a number or a function of the dtype; ``finish(acc, n)``
    and ``map(x)`` are optional scalar functions. ``wide`` accumulates in a wider type and may reassociate (sums)."""
    if fn is None:
        return lambda f: reduction(f, **options)
    if "signature" in options:
        inspect.signature(options.pop("signature"))
    return Reduction(fn, **options)
