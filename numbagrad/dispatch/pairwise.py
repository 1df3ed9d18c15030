"""Sums and means of an elementwise op, in one kernel forward and one backward: the shape of most losses.

``Reduced(op)`` for an elementwise op with tensors ``input, target, ...`` and numbers gives a custom op
``op_reduced(input, target, ..., mean=True, numbers...)``: tensors of one shape in, one number out. The elementwise
values are never stored. Both kernels are printed from the op's expression and its gradients.
"""

from __future__ import annotations

import numpy as np

from ..core.copying import fill_into
from ..core.launch import launch
from ..core.tensor import make
from ..kernel import casts, emit, expr, jit, threads
from ..kernel.native import address
from ..kernel.tape import TAPE, active, capturing
from ..kernel.threads import LIMIT
from .custom import custom
from .elementwise_backward import recorded_gradient
from .fold import BLOCK
from .rules import rule_function
from .text import group

FORWARD = """    for piece_ in range_(start_, stop_):
        total_, end_ = 0.0, n_ * (piece_ + 1) // pieces_
        for first_ in range_(n_ * piece_ // pieces_, end_, {block}):
            part_ = T_(0)
            for i_ in range_(first_, min_(first_ + {block}, end_)):
{body}
                part_ = accumulate_(part_, {result})
            total_ += part_
        if pieces_ == 1:
            o__p_[0] = store_(T_(total_ / divisor_))
        else:
            ptr_f8_(o__a_)[piece_] = total_
"""
PIECES = 16  # sums of a large loss, which several threads share
BACKWARD = """    g_ = T_(load_(g__p_[0]) / divisor_)
    for i_ in range_(start_, stop_):
{body}
"""


class Reduced:
    """Sum or mean of an elementwise op; ``names`` are the printed nodes of (sum, mean)."""

    def __init__(self, op, names, samples=(), reference=None, domain=(-2.0, 2.0)):
        self.elementwise, self.made, self.names = op, {}, names
        self.tensors, self.numbers = op.tensors, op.params
        tensors, values = group(self.tensors), group(self.numbers)
        listed, numbers = ", ".join(self.tensors), "".join(f", {n}" for n in self.numbers)
        noted = "".join(f", {n}: float_" for n in self.numbers)
        env = {"reduced_": self, "float_": float, "bool_": bool}
        source = f"def {op.name}_reduced({listed}, *, mean: bool_{noted}):\n    return (), {self.tensors[0]}._kind\n"
        source += (f"def rule(g_, {listed}{numbers}, needs_, mean):\n"
                   f"    return reduced_.gradient(g_, {tensors}, needs_, mean, {values})\n")
        source += (f"def launch(out_, {listed}, mean{numbers}):\n"
                   f"    reduced_.forward(out_, {tensors}, mean, {values})\n")
        jit.define(source, "rule", env)
        fn = env[f"{op.name}_reduced"]
        fn.__doc__ = f"Sum or mean of ``{op.name}``."
        fn.__module__ = op.fn.__module__
        self.op = custom(fn, private=True, node=names[0], samples=samples, reference=reference, domain=domain)
        self.op.cpu(env["launch"])
        self.op.gradient(env["rule"])
        base = self.op.node_class
        by_mean = {True: type(names[1], (base,), {"__slots__": (), "__module__": "numbagrad"}), False: base}
        self.op.node_for = lambda params: by_mean[params[0]]
        self.call = self.op.call

    def __call__(self, *args, **kwargs):
        return self.op.call(*args, **kwargs)

    def forward(self, out, tensors, mean, numbers):
        """Fold the op's values into ``out``."""
        d = out._kind.dtype
        if not out._kind.cpu or capturing():
            # A loop and a sum by themselves: a compiled step fuses them with what stands around.
            from ..core.registry import REGISTRY
            values = make(tensors[0]._shape, out._kind)
            launch(self.elementwise.form("t" * len(self.tensors)).forward, d, tensors, numbers, (values,),
                         values._shape)
            return REGISTRY["mean" if mean else "sum"].fold(out, values, None, False)
        run = self.made.get(d) or self._build_forward(d)
        n = tensors[0]._n
        pointers, divisor = [t._ptr for t in tensors], float(n) if mean else 1.0
        if n < LIMIT[0] or TAPE:
            return self._launch(run, n, (*pointers, out._ptr), (*numbers, divisor, n, 1, 0, 1))
        sums = np.empty(PIECES)
        self._share(run, (*pointers, address(sums), *numbers, divisor, n, PIECES), PIECES, 1)
        return fill_into(out, sums.sum().item() / divisor)

    def _build_forward(self, d):
        values, body, result, env, key = self._lines((self.elementwise.expression,), d, self.tensors)
        text = f"def fold({', '.join(n + '_a_' for n in (*self.tensors, 'o_'))}{values[0]}, divisor_, n_, pieces_, start_, "
        text += "stop_):\n" + self._pointers((*self.tensors, "o_")) + values[1]
        text += FORWARD.format(block=BLOCK, body="\n".join("                " + s for s in body), result=result[0])
        letters = "i" * (len(self.tensors) + 1) + "f" * (len(self.numbers) + 1) + "iiii"
        self.made[d] = made = jit.compile_source(text, "fold", letters, env, key), letters[:-2]
        return made

    def gradient(self, g, tensors, needs, mean, numbers):
        """Gradients of the tensors that need one: one kernel, or recorded ops when history is asked for."""
        first = tensors[0]
        if g._rg or any([t._rg for t in tensors]):
            return self._recorded(g, tensors, needs, mean, numbers)
        kind, n = first._kind, first._n
        if not kind.cpu or capturing():
            return self._recorded(g, tensors, needs, mean, numbers)
        run = self.made.get((kind.dtype, needs))
        if run is None:
            run = self._build_backward(kind.dtype, needs)
        results = [make(first._shape, kind) if k else None for k in needs]
        tensors = [t if t._strides is None else t.contiguous() for t in tensors]
        pointers = (g._ptr, *[t._ptr for t in tensors], *[r._ptr for r in results if r is not None])
        numbers = (*numbers, float(n) if mean else 1.0)
        if n < LIMIT[0] or TAPE:
            self._launch(run, n, pointers, (*numbers, 0, n))
        else:
            self._share(run, (*pointers, *numbers), n, LIMIT[0] // 2)
        return results

    @staticmethod
    def _launch(run, work, pointers, numbers):
        recorder = active() if TAPE else None
        entry = run[0].entry
        return entry(*pointers, *numbers) if recorder is None else recorder.direct(entry, pointers, numbers, work)

    @staticmethod
    def _share(run, words, items, grain):
        """Run a kernel on several threads."""
        native, letters = run
        threads.parallel_call(jit.through(letters), (native.address, *words), items, grain)

    def _recorded(self, g, tensors, needs, mean, numbers):
        values = dict(zip(self.tensors, tensors))
        values.update(zip(self.numbers, numbers))
        values["g_"] = g / tensors[0]._n if mean else g
        rules = self.elementwise.gradients(False)
        wanted = [i for i, (r, k) in enumerate(zip(rules, needs)) if k and r is not None]
        if self.elementwise.fused:
            form = self.elementwise.form("t" * len(tensors))
            results = [recorded_gradient(form, i, rules[i], values) for i in wanted]
        else:
            results = expr.evaluate([rules[i] for i in wanted], values, rule_function(values["g_"]))
        found = dict(zip(wanted, results))
        out = [found.get(i) for i in range(len(tensors))]
        return [r if r is None or r._shape == tensors[0]._shape else r.expand(tensors[0]._shape) for r in out]

    def _build_backward(self, d, needs):
        rules = [r if r is not None else expr.const(0) for r, k in zip(self.elementwise.gradients(False), needs) if k]
        values, body, result, env, key = self._lines(tuple(rules), d, self.tensors)
        outs = [f"o{j}_" for j in range(len(rules))]
        names = ", ".join(n + "_a_" for n in ("g_", *self.tensors, *outs))
        text = f"def spread({names}{values[0]}, divisor_, start_, stop_):\n"
        text += self._pointers(("g_", *self.tensors, *outs)) + values[1]
        body = body + [f"{o}_p_[i_] = store_({r})" for o, r in zip(outs, result)]
        text += BACKWARD.format(body="\n".join("        " + s for s in body))
        letters = "i" * (len(self.tensors) + 1 + len(outs)) + "f" * (len(self.numbers) + 1) + "ii"
        made = self.made[d, needs] = jit.compile_source(text, "spread", letters, env, key), letters[:-2]
        return made

    def _lines(self, outputs, d, names):
        consts, body, results, used = expr.lines(outputs, d.compute)
        read = set(expr.variables(outputs))
        env, key = emit.functions(used, d.compute)
        numba = jit.nb()
        env.update(T_=casts.cast("T", d.compute)[0], accumulate_=numba.accumulate, ptr_=numba.pointers[d.code])
        env["ptr_f8_"] = numba.pointers["f8"]
        env["load_"], k1 = casts.cast("load", d.code)
        env["store_"], k2 = casts.cast("store", d.code)
        loads = [f"{n} = load_({n}_p_[i_])" for n in names if n in read]
        numbers = "".join(f", {n}_s_" for n in self.numbers)
        heads = "".join(f"    {n} = T_({n}_s_)\n" for n in self.numbers) + "".join(f"    {c}\n" for c in consts)
        return (numbers, heads), loads + body, results, env, "\n".join([key, d.code, k1, k2])

    @staticmethod
    def _pointers(names):
        return "".join(f"    {n}_p_ = ptr_({n}_a_)\n" for n in names)
