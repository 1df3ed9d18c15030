"""Reductions: a fold over dimensions given by start value, combination and finish.

    @reduction(start=0.0, finish=lambda acc, n: acc / n)
    def mean(acc, x):
        '''Mean over dimensions.'''
        return acc + x

The scalar functions are traced as in elementwise ops. Two loops come from them: *rows* folds the innermost dimension,
*columns* folds an outer one with the accumulators of a tile of columns on the stack. Dimensions are merged where they
lie side by side in memory; what then alternates between kept and reduced is folded in stages, innermost first, with
the accumulator type in between. Only tensors with gaps or overlaps are copied first.

The public call is generated like an elementwise one: a plan per (shape, dim, keepdim, kind) holds everything that a
call on row-major memory needs.
"""

from __future__ import annotations

import inspect

from ..base import arguments, modes, overriding
from ..base import dtypes as dt
from ..base.sparse import SparseArgument, instead
from ..core import storage
from ..core.out import write_out
from ..core.overlap import unrecorded
from ..core.registry import REGISTRY
from ..core.replay import Calls
from ..core.tensor import Tensor, is_contiguous, make, numel, raw, raw_view
from ..kernel import expr, jit, threads
from ..kernel.guard import guarded
from ..kernel.tape import TAPE, active
from ..kernel.threads import LIMIT
from . import fold, plan, replays, text
from .barebones_check import check_barebones
from .custom import Custom, CustomNode, _record
from .op import REDUCE, grad_name
from .reduction_rules import check_joins, derive, normalize_dims
from .text import indented

PAD = "    "
SAVED = {"input": "input, input._ver[0]", "y_": text.SAVED_OUTPUT}  # of what a rule names


def _call(input, dim=None, keepdim=False, *, dtype=None, out=None, axis=None, keepdims=None):
    """The parameters of the public calls."""


CALL = inspect.signature(_call)
FILL = inspect.signature(lambda input, dim=None, keepdim=False, out=None: None)


class Reduction(Custom):
    """An op that folds dimensions; the call is ``op(input, dim=None, keepdim=False, *, dtype=None, out=None)``."""

    kind = "reduction"

    def __init__(self, fn, *, start, finish=None, map=None, wide=False, result=None, accepts="any", empty=True,
                 names=None, accumulate=None, order=None, whole=None, **options):
        self.combine = fn
        operation = _plain(fn)
        if wide and operation is None:
            raise TypeError(f"{fn.__name__}: a combination of which the order is free is one operation on acc and x alone; "
                            "what happens to x before belongs into map")
        self.start, self.finish_fn, self.map_fn, self.wide = start, finish, map, wide
        self.additive = operation == "add" and start == 0
        self.result, self.accepts, self.allows_empty = result, accepts, empty
        self.accumulate, self.order, self.whole = accumulate, order, whole
        self.plans, self.made = {}, {}
        fn_name = options.pop("name", None) or fn.__name__

        def shape_rule(input, dim: object = None, keepdim: bool = False):
            return self.infer(input, dim, keepdim)
        shape_rule.__name__, shape_rule.__doc__ = fn_name, fn.__doc__
        shape_rule.__module__ = fn.__module__
        shape_rule.__qualname__ = fn_name
        options.setdefault("dtypes", "float" if accepts == "float" else "any")
        if not options.get("private"):
            options["kinds"] = {"dim": "ints", **options.get("kinds", {})}
            options.setdefault("samples", REDUCE)
        super().__init__(shape_rule, name=fn_name, node=names[0] if names else None, contiguous=False, **options)
        by_dim = names[1] if names else grad_name(fn_name)
        self.node_class = type(self.node_class.__name__, (ReductionNode,),
                               {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.node_by_dim = type(by_dim, (ReductionNode,), {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.cpu_launch = self.cuda_launch = self.fold
        check_joins(self)

    def node_for(self, params):
        return self.node_class if params[0] is None else self.node_by_dim

    def complete(self):
        if self.rule is None and self.additive and self.differentiable:
            rule = derive(self)
            if rule is not None:
                self.gradient(rule)
        super().complete()

    def fast_gradient(self, fn):
        """First-order backward ``fn(node, g) -> (gradient,)`` in place of the rule (which stays for recorded ones)."""
        for cls in (self.node_class, self.node_by_dim):
            cls.backward = fn
        return fn

    # --- the public call

    def call_signature(self):
        return CALL

    def build_call(self):
        self.complete()
        kinds = {n: kind for n, kind in self.kinds.items() if n != "input"}
        saved = text.group([SAVED[n] for n in self.rule_names if n in SAVED])
        record = []
        if self.rule is not None:
            node = text.recorded("ByDim_ if dim is not None else Full_", "(input._node or input,)", saved, "ctx_")
            record = ["if input._view is not None:", "    refresh_(input)", "if input._rg and record_:", PAD + node]
        ctx = "((dim, keepdim), (input._shape,), (True,), specs_, NONE_)"

        def result(run, ctx):
            """Lines that allocate, run the kernels and make the tensor and its node."""
            return [*text.fresh("out_", "n_", "storage_", "shape_", "ko_"), run, *([f"ctx_ = {ctx}"] if ctx else []), *record,
                    "return out_"]
        # Calls that come again go on to the native function.
        planned = ["key_ = (input._shape, dim, keepdim, input._kind, None)", f"if key_ not in WALKS_ and {self._plannable()}:",
                   "    settle_(op_, WALKS_, key_, (input,), (dim, keepdim))"] if replays.POSSIBLE else []
        lines = [*arguments.text(self.name, self.signature.parameters, kinds, arguments.QUICK, pad="").splitlines(),
                 "if out is not None and dtype is None and axis is None and keepdims is None:",
                 "    return filled_[0](input, dim, keepdim, out)",
                 "if dtype is not None or out is not None or axis is not None or keepdims is not None:",
                 "    return general_(op_, input, dim if axis is None else axis, keepdim if keepdims is None else keepdims,",
                 "                    dtype, out)",
                 "record_ = True if not STATE_ else recording_()",
                 "if record_ is not None:", *indented(replays.lines(["input", "dim", "keepdim"]) or ["pass"], PAD),
                 "try:", "    plan_ = PLANS_.get((input._shape, dim, keepdim, input._kind)) if record_ is not None else None",
                 "except (AttributeError_, TypeError_):", "    record_ = plan_ = None",
                 "if plan_ is not None and input._strides is None and input._n < LIMIT_[0]:",
                 *indented([*planned, "run_, storage_, ko_, shape_, n_, count_, inner_, total_, items_, ctx_ = plan_",
                            *result("run_(input._ptr, ptr_, count_, inner_, total_, input._n, 0, items_)", None)], PAD),
                 "if record_ is not None:", *indented([
                     "key_ = (input._shape, dim, keepdim, input._kind, input._strides)", "plan_ = WALKS_.get(key_)",
                     "if plan_:", "    run_, made_, specs_, most_ = plan_", "    if most_ < LIMIT_[0]:", *indented([
                         "n_, storage_, ko_, shape_ = made_[0]",
                         *result("run_(input._ptr, ptr_)", ctx)], 2 * PAD),
                     f"elif plan_ is None and {self._plannable()}:",
                     "    settle_(op_, WALKS_, key_, (input,), (dim, keepdim))"], PAD),
                 "return general_(op_, input, dim, keepdim, dtype, out)"]
        env = text.environment(op=self, PLANS=self.plans, Full=self.node_class, ByDim=self.node_by_dim, general=general,
                               WALKS=plan.Table(), settle=plan.settle, NONE={})
        calls = env["WALKS_"].calls = Calls(1, (False, False))
        calls.node_class = None
        env["replay_"] = calls
        env["filled_"] = self.filled(FILL, lambda input, dim, keepdim, out: general(self, input, dim, keepdim, None, out))
        return text.call(self, CALL, indented(lines, PAD), env)

    def _plannable(self):
        """Which inputs the fold takes as they are, as text."""
        return "not input._kind.dtype.is_complex" if self.accumulate else "True"

    # --- types and shapes

    def result_dtype(self, d):
        if self.result == "bool":
            return dt.bool_
        if self.result == "int":
            return dt.int64
        if self.result == "sum" and d.category < 2:
            return dt.int64
        return d

    def infer(self, input, dim, keepdim):
        d = input._kind.dtype
        if self.accepts == "float" and d.category < 2:
            raise no_dtype(self.name, "Input", d)
        if self.accepts == "real" and d.is_complex:
            raise RuntimeError(f"{self.name}(): not implemented for '{dt.scalar_name(d)}'")
        dims = normalize_dims(dim, len(input._shape))
        if not self.allows_empty:
            for i in dims:
                if input._shape and input._shape[i] == 0:
                    if dim is None or dim == ():
                        raise RuntimeError(f"{self.name}(): Expected reduction dim to be specified for input.numel() "
                                           "== 0. Specify the reduction dim with the 'dim' argument.")
                    raise IndexError(f"{self.name}(): Expected reduction dim {i} to have non-zero size.")
        shape = tuple((1 if i in dims else s) for i, s in enumerate(input._shape) if keepdim or i not in dims)
        return shape, storage.kind_of(self.result_dtype(d), input._kind.device)

    # --- kernels

    def fold(self, out, input, dim, keepdim):
        """Run the loops of this reduction into ``out``."""
        from ..core.copying import copy_into
        if out._n == 0:
            return
        dims = normalize_dims(dim, len(input._shape))
        t, sizes, flags, order = in_memory_order(input, dims)
        kept = [d for d, f in zip(order, flags) if not f]
        if kept == sorted(kept):
            self.run_stages(t, out, stages(tuple(sizes), tuple(flags)))
            return
        temporary = make(tuple(input._shape[d] for d in kept), out._kind)
        self.run_stages(t, temporary, stages(tuple(sizes), tuple(flags)))
        flat = raw(out._buf, out._ptr, out._n, tuple(input._shape[d] for d in sorted(kept)), None, out._kind, out._ver)
        copy_into(flat, raw_view(temporary, [kept.index(d) for d in sorted(kept)]))

    def run_stages(self, t, out, steps):
        if not t._kind.cpu:
            return storage.backend(t._kind.device).fold(self, t, out, steps)
        total = max(t._n // out._n, 1) if t._n else 0
        recorder = active() if TAPE else None
        if recorder is not None:
            recorder.buffer(t)  # its address is found by the memory that it lies in
        d = t._kind.dtype
        acc = self.accumulator(d)
        x, code, n, keep = t._ptr, d.code, t._n, []
        limit = LIMIT[0]
        if n >= limit and out._n == 1 and len(steps) == 1 and not (recorder and recorder.compiles):
            # One long row is cut into a piece per thread first. The last may end early, as short rows may not.
            size = max(-(-n // max(1, min(2 * n // limit, 64))), fold.SHORT + 1)
            pieces = -(-n // size)
            steps = (("rows", size, 1, pieces, pieces), ("rows", pieces, 1, 1, 1))
        for k, (form, count, inner, items, results) in enumerate(steps):
            last = k == len(steps) - 1
            if last:
                o, o_code = out._ptr, out._kind.dtype.code
            else:
                keep.append(storage.kind_of(dt.BY_CODE[acc]).alloc(results))
                o, o_code = keep[-1][1], acc
            key = (form, code, o_code, acc, k == 0, last)
            if recorder is not None:
                recorder.fold(self, key, (x, o, count, inner, total, n), items)
                x, code, n = o, o_code, results
                continue
            if n >= limit and items > 1:
                threads.parallel_call(jit.through(fold.LETTERS), (self.native(*key).address, x, o, count, inner, total, n),
                                      items, max(1, items * (limit // 2) // n))
            else:
                self.native(*key).entry(x, o, count, inner, total, n, 0, items)
            x, code, n = o, o_code, results

    def accumulator(self, d):
        """Code of the accumulator's type: wider than the input where a long sum would lose digits."""
        compute = d.compute
        if self.accumulate:
            return self.accumulate
        if self.wide:
            return {"f4": "f8", "c8": "c16", "f8": "f8", "c16": "c16"}.get(compute, "i8")
        if self.result == "sum" and d.category < 2:
            return "i8"
        return "u1" if compute == "b1" else compute

    def native(self, form, code, out_code, acc, first=True, last=True):
        key = (form, code, out_code, acc, first, last)
        return self.made.get(key) or self._make(key)

    @guarded
    def _make(self, key):
        if key not in self.made:
            self.made[key] = fold.build(self, *key)
        return self.made[key]


class ReductionNode(CustomNode):
    """Node of a reduction."""

    __slots__ = ()

    def captured(self, g):
        """By the rule; a backward by kernels gives leaves plain memory, which a view of the upstream gradient is not."""
        grads = CustomNode.backward(self, g)
        if type(self).backward is CustomNode.backward:
            return grads
        from ..core.copying import contiguous_copy
        return tuple([contiguous_copy(r) if r is not None and r._strides is not None and e is not None and e.is_leaf_edge
                      else r for r, e in zip(grads, self.next)])


def _follows(op, d, to):
    """Whether a sum, product or mean of ``d`` is computed in the dtype ``to`` of ``out=``, as with ``dtype=``."""
    return op.result == "sum" if op.accepts == "any" else d.category > 1 and to.category > 1 and dt.can_cast(d, to)


def no_dtype(name, which, d):
    """The error of a mean that would have to be an integer."""
    return RuntimeError(f"{name}(): could not infer output dtype. {which} dtype must be either a floating point or complex "
                        f"dtype. Got: {dt.scalar_name(d)}")


def general(op, input, dim, keepdim, dtype, out):
    """Call a reduction on any tensor, and remember the plan when the fast path can do it next time."""
    if not isinstance(input, Tensor):
        asked = overriding.asked(op, {"input": input, "dim": dim, "keepdim": keepdim, "dtype": dtype, "out": out})
        if asked is not None:
            return asked[0]
        raise arguments.wrong(input, "Tensor", op.name, "input", 1)
    if modes.STATE and (stack := modes.transform()) is not None and (
            found := stack.reduction(op, input, dim, keepdim, dtype, out)) is not NotImplemented:
        return found
    if out is not None and dtype is None and isinstance(out, Tensor) and out._kind is input._kind and (
            not input._rg and unrecorded(out) and out._buf is not input._buf and op.result != "bool"):
        result = op.call(input, dim, keepdim)  # (which has a plan)
        if result._kind is out._kind and result._shape == out._shape:
            return write_out(op.name, out, result, [input], True)
    if dtype is not None:
        dtype = arguments.check_dtype(dtype, op.name, "dtype", 0)
        if op.accepts == "float" and dtype.category < 2:
            raise no_dtype(op.name, "Optional", dtype)
    elif isinstance(out, Tensor) and _follows(op, input._kind.dtype, out._kind.dtype):
        dtype = out._kind.dtype
    if op.whole is not None and dtype is not None and input._kind.dtype.category < 2:
        return general(REGISTRY[op.whole], input, dim, keepdim, dtype, out)
    if dtype is not None and dtype is not input._kind.dtype:
        input = input.to(dtype=dtype)
    try:
        if input._kind.dtype.barebones:
            check_barebones(op.name, input._kind.dtype, input, dim, dtype=dtype)
        if dim is not None:
            dim = arguments.check_ints(dim, op.name, "dim", 2)
        keepdim = arguments.check_bool(keepdim, op.name, "keepdim", 3)
        if op.accumulate and input._kind.dtype.is_complex:  # any, all and count_nonzero look at truth, not at numbers
            input = REGISTRY["ne"].callable(input.detach(), 0)
        if isinstance(out, Tensor) and op.result == "bool" and out._kind.dtype not in (dt.bool_, dt.uint8):
            raise RuntimeError(f"{op.name} only supports bool tensor for result, got: {dt.scalar_name(out._kind.dtype)}")
        shape, kind = op.infer(input, dim, keepdim)
    except SparseArgument as error:
        return instead(op, error)(input, dim, keepdim, dtype=dtype)
    result = make(shape, kind)
    if kind.cpu:
        op.fold(result, input, dim, keepdim)
    elif kind.meta:
        pass
    elif op.cuda_launch is not None:
        op.cuda_launch(result, input, dim, keepdim)
    else:
        raise NotImplementedError(f"{op.name} has no kernel for device '{kind.device}' and dtype {kind.dtype}")
    if dtype is not None and dtype.category < 2 and op.result == "sum":
        result = result.to(dtype=dtype)  # summed in int64, which wraps around to the same bits
    if out is not None:
        if op.result == "bool" and out._kind.dtype is dt.bool_ and result._kind.dtype is dt.uint8:
            result = REGISTRY["ne"].callable(result, 0)  # uint8 does not cast to bool, but here is 0 or 1
        return write_out(op.name, out, result, [input], True)
    _record(op, [result], (input,), [input], (dim, keepdim))
    if input._strides is None and kind.cpu and input._n and result._n and not TAPE and result._kind is kind:
        dims = normalize_dims(dim, len(input._shape))
        steps = stages(input._shape, tuple(i in dims for i in range(len(input._shape))))
        if len(steps) == 1 and type(dim) in (int, tuple, type(None)):
            form, count, inner, items, _ = steps[0]
            d = input._kind.dtype
            entry = op.native(form, d.code, kind.dtype.code, op.accumulator(d)).entry
            ctx = ((dim, keepdim), (input._shape,), (True,), plan.Specs([(shape, kind)]), {})
            if len(op.plans) > 4096:
                op.plans.clear()
            op.plans[input._shape, dim, keepdim, input._kind] = (
                entry, kind.np, kind, shape, result._n, count, inner, input._n // result._n, items, ctx)
    return result


def in_memory_order(t, dims):
    """(tensor with dense memory, sizes and reduced flags in the order they lie in memory, that order)."""
    shape = t._shape
    order = list(range(len(shape)))
    if t._strides is not None:
        strides = t._strides
        order.sort(key=lambda d: (-strides[d], -shape[d]))
        if not is_contiguous([shape[d] for d in order], [strides[d] for d in order]):
            from ..core.copying import contiguous_copy
            t, order = contiguous_copy(t), list(range(len(shape)))
    return t, [shape[d] for d in order], [d in dims for d in order], order


_stages: dict = {}


def stages(sizes, flags):
    """Loops that reduce dense memory: (form, count, inner, work items, results) each, innermost reduction first."""
    found = _stages.get((sizes, flags))
    if found is not None:
        return found
    groups = merged(sizes, flags)
    steps = []
    while any(f for _, f in groups):
        at = max(i for i, (_, f) in enumerate(groups) if f)
        count, inner = groups[at][0], numel([s for s, _ in groups[at + 1:]])
        outer = numel([s for s, _ in groups[:at]])
        m = 1
        while inner > 1 and 2 * m * inner <= 128 and count % (2 * m) == 0 and count // m >= 128:
            m *= 2
        # A few columns leave vector registers empty: several rows are taken as one, and folded afterwards.
        if m > 1:
            groups[at][0] = m
            count, inner = count // m, inner * m
        else:
            del groups[at]
        items = outer if inner == 1 else outer * -(-inner // fold.TILE)
        steps.append(("rows" if inner == 1 else "columns", count, inner, items, outer * inner))
    if not steps:
        n = numel(sizes)
        steps.append(("rows", 1, 1, n, n))
    if len(_stages) > 4096:
        _stages.clear()
    found = _stages[sizes, flags] = tuple(steps)
    return found


def merged(sizes, flags):
    """[size, reduced] groups of neighbouring dimensions of one sort; those of size one are left out."""
    groups = []
    for s, f in zip(sizes, flags):
        if s == 1:
            continue
        if groups and groups[-1][1] == f:
            groups[-1][0] *= s
        else:
            groups.append([s, f])
    return groups


def _plain(fn):
    """"add" or "mul" if ``fn(acc, x)`` is that alone, so that freedom of order concerns nothing else; or None."""
    acc, x = expr.var("acc"), expr.var("x")
    (made,) = expr.trace(fn, ["acc", "x"])
    return made.op if made.op in ("add", "mul") and set(made.args) == {acc, x} else None


def reduction(fn=None, **options):
    """Declare a reduction: ``fn(acc, x)`` combines; ``start`` is a number or a function of the dtype;
    ``finish(acc, n)`` and ``map(x)`` are optional scalar functions.

    ``wide`` accumulates in a wider type and in any order (sums and products: one operation on ``acc`` and ``x``);
    ``accumulate`` names the accumulator's dtype code where it does not follow from the input's; ``order`` ("max" or "min")
    says that ``fn`` keeps the extreme one. ``whole`` names the op that computes integers to a ``dtype``."""
    if fn is None:
        return lambda f: reduction(f, **options)
    return Reduction(fn, **options)


__all__ = ["Reduction", "merged", "normalize_dims", "reduction", "stages"]
