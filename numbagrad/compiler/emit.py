"""Fused elementwise loops: text from expressions and layouts, compiled once for each distinct text.

A loop has the form ``fn(table, start, stop)``. The table holds addresses, numbers, and, unless all operands are dense,
sizes and strides, so one compiled loop serves every shape of the same layout. A layout says, for each operand, whether it
is walked one by one ("1"), stands still ("0") or jumps ("s") along the innermost dimension.
"""

from __future__ import annotations

from ..core.tensor import numel
from ..kernel import emit, expr, jit
from .ir import whole
from .scopes import Operands
from .symbols import Symbol


class Loop:
    """Text, layout and table of a fused loop over ``ins`` and ``outs`` (operands), before addresses are known."""

    def __init__(self, name, compute, ins, outs, scalars, values, expressions, inputs, shape):
        self.name = "fused_" + name
        self.ins, self.outs, self.values = ins, outs, values
        sizes, strides = emit.collapse(shape, [o.strides for o in (*ins, *outs)])
        self.sizes, self.strides = sizes, strides
        self.flat = len(sizes) == 1 and all([st[0] in (0, 1) for st in strides])
        self.items = sizes[0] if self.flat else numel(sizes[:-1])
        self.elements = numel(sizes)
        self.compute, self.expressions, self.inputs, self.scalars = compute, expressions, inputs, scalars

    def words(self, pointer):
        """The table, with ``pointer(operand)`` for addresses."""
        words = [pointer(o) for o in (*self.ins, *self.outs)]
        for v in self.values:
            words += [float(v.real), float(v.imag)] if self.compute[0] == "c" else [
                whole(int(v)) if self.compute[0] in "iub" else v if isinstance(v, Symbol) else float(v)]
        if not self.flat:
            words += [len(self.sizes), *self.sizes]
            for st in self.strides:
                words += st
        return words

    def pointwise(self):
        """(loop, compute type, input codes, output codes, dimensions or 0 when dense), without this device's text."""
        loop = emit.Pointwise(self.name, self.inputs, self.scalars, self.expressions)
        return (loop, self.compute, tuple([o.dtype.code for o in self.ins]), tuple([o.dtype.code for o in self.outs]),
                0 if self.flat else len(self.sizes))

    def text(self):
        """(source, key of what its names mean, environment)."""
        operands = Operands(self.inputs, self.ins, self.outs)
        steps = tuple([st[-1] if st[-1] in (0, 1) else 2 for st in self.strides])
        form = (self.name, self.compute, tuple(map(id, self.expressions)), tuple(self.inputs), tuple(self.scalars),
                tuple(operands.codes), tuple(operands.places), 0 if self.flat else len(self.sizes), steps)
        found = _texts.get(form)
        if found is None:
            found = _texts[form] = self._text(operands), tuple(self.expressions)
        return found[0]

    def _text(self, operands):
        compute, T = self.compute, "T_"
        consts, body, results, used = expr.lines(self.expressions, compute)
        read = set(expr.variables(self.expressions))
        codes_in, codes_out = [o.dtype.code for o in self.ins], [o.dtype.code for o in self.outs]
        head, k = operands.pointers()
        for s in self.scalars:
            if compute[0] == "c":
                head.append(f"{s} = {T}(complex(fargs[{k}], fargs[{k + 1}]))")
                k += 2
            else:
                head.append(f"{s} = {T}({'args' if compute[0] in 'iub' else 'fargs'}[{k}])")
                k += 1
        names = operands.places
        last = [st[-1] for st in self.strides]
        head += consts

        def at(j, origin):
            step = last[j]
            if step == 1:
                return f"{origin} + i" if origin else "i"
            if step == 0:
                return origin or "0"
            return f"{origin} + i * {names[j]}_t" if origin else f"i * {names[j]}_t"

        def loop(pad, origins, bounds):
            lines = []
            for j, n in enumerate(self.inputs):
                if n in read and last[j] == 0:
                    lines.append(f"{pad}{n} = {operands.load(n, at(j, origins[j]))}")
            lines.append(f"{pad}for i in range({bounds}):")
            inner = [f"{n} = {operands.load(n, at(j, origins[j]))}" for j, n in enumerate(self.inputs)
                     if n in read and last[j] != 0]
            inner += body
            m = len(self.inputs)
            inner += [operands.store(f"o{i}", at(m + i, origins[m + i]), r) for i, r in enumerate(results)]
            return lines + [f"{pad}    {line}" for line in inner]

        if self.flat:
            lines = loop("", [""] * len(names), "start, stop")
        else:
            nd = len(self.sizes)
            base = k + 1
            head += [f"n{d} = args[{base + d}]" for d in range(nd)]
            for j, n in operands.distinct():
                row = base + nd + j * nd
                head += [f"{n}_s{d} = args[{row + d}]" for d in range(nd - 1)]
                if last[j] not in (0, 1):
                    head.append(f"{n}_t = args[{row + nd - 1}]")
            lines = ["for row in range(start, stop):"]
            if nd == 1:
                lines += [f"    {n}_o = 0" for n in operands.order]
            elif nd == 2:
                lines += [f"    {n}_o = row * {n}_s0" for n in operands.order]
            else:
                lines.append("    left = row")
                for d in range(nd - 2, 0, -1):
                    lines += [f"    up{d} = left // n{d}", f"    c{d} = left - up{d} * n{d}", f"    left = up{d}"]
                for n in operands.order:
                    parts = [f"left * {n}_s0"] + [f"c{d} * {n}_s{d}" for d in range(1, nd - 1)]
                    lines.append(f"    {n}_o = {' + '.join(parts)}")
            lines += loop("    ", [f"{n}_o" for n in names], f"n{nd - 1}")
        text = f"def {self.name}(table, start, stop):\n    args = ptr_i8(table)\n    fargs = ptr_f8(table)\n"
        text += "".join(f"    {line}\n" for line in head + lines)
        env, key = emit.functions(used, compute)
        more, keys = emit.casts(compute, codes_in, codes_out)
        return text, "\n".join([key, *keys, operands.key]), {**env, **more, **operands.env}


_made: dict = {}
_texts: dict = {}  # form of a loop -> (its text, expressions, which are told by their ids)


def compiled(text, key, env, name, fast=jit.FAST):
    """The native form of a loop's text."""
    found = _made.get((text, key))
    if found is None:
        found = _made[text, key] = jit.compile_source(text, name, "iii", env, key, fast, entry=False)
    return found
