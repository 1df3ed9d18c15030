"""The loops of a reduction: printed from its scalar functions and compiled.

*rows* folds the innermost dimension, *columns* an outer one. Sums (``wide``) add a block in the compute type, whose order
is free for SIMD (of the combination alone: not of what maps the elements), and the blocks in a wider type. Other folds keep
independent accumulators on the stack.
"""

from __future__ import annotations

import re

from ..base import dtypes as dt
from ..kernel import casts, emit, expr, inlined, jit

BLOCK = 1024  # elements summed in the compute type before going into the wide accumulator
LETTERS = "iiiiii"  # kinds of a fold's arguments, without its range
LANES = 256   # independent accumulators of a fold that may not be reassociated
SHORT = 24    # longest row that is not worth a loop of its own
TILE = 512    # columns folded together, so that their accumulators stay in the first-level cache
# Short rows side by side: one accumulator per row.
SHORT_ROWS = """    if count <= SHORT:
        row = start
        while row < stop:
            width = min(LANES, stop - row)
            for k in range(width):
                s[k] = START
            base = row * count
            for i in range(count):
                for k in range(width):
                    s[k] = A(combine(s[k], A(VALUE[base + k * count + i])))
            for k in range(width):
                acc = s[k]
                out[row + k] = store(FINISH(acc))
            row += width
        return
"""
ROWS = SHORT_ROWS + """    for row in range(start, stop):
        base = row * count
        here = min(count, n - base)
        # A width known only at run time keeps the loop from being unrolled, which would cost its vectorization.
        width = min(LANES, here)
        for k in range(width):
            s[k] = START
        i = base
        while i + width <= base + here:
            for k in range(width):
                s[k] = A(combine(s[k], A(VALUE[i + k])))
            i += width
        while width > 1:
            half = (width + 1) // 2
            for k in range(width - half):
                s[k] = A(combine(s[k], s[half + k]))
            width = half
        acc = s[0] if here > 0 else START
        while i < base + here:
            acc = A(combine(acc, A(VALUE[i])))
            i += 1
        out[row] = store(FINISH(acc))
"""
# Extrema of floats: a loop of LLVM's own ones, which vectorizes as it stands.
ROWS_EXTREMUM = SHORT_ROWS + """    for row in range(start, stop):
        base = row * count
        acc = START
        for i in range(base, min(base + count, n)):
            acc = EXTREMUM(acc, A(VALUE[i]))
        out[row] = store(acc)
"""
ROWS_WIDE = SHORT_ROWS + """    for row in range(start, stop):
        base = row * count
        end = min(base + count, n)
        acc = START
        for first in range(base, end, BLOCK):
            sum_ = FIRST
            for i in range(first, min(first + BLOCK, end)):
                sum_ = T(part(sum_, T(VALUE[i])))
            acc = A(combine(acc, A(sum_)))
        out[row] = store(FINISH(acc))
"""
COLUMNS = """    tiles = (inner + TILE - 1) // TILE
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * TILE
        width = min(TILE, inner - left)
        for j in range(width):
            s[j] = START
        base = row * count * inner + left
        for i in range(count):
            for j in range(width):
                s[j] = A(combine(s[j], A(VALUE[base + j])))
            base += inner
        base = row * inner + left
        for j in range(width):
            acc = s[j]
            out[base + j] = store(FINISH(acc))
"""
# Eight rows at a time are added in the compute type: one pass over the wide accumulators for all of them.
COLUMNS_WIDE = """    tiles = (inner + TILE - 1) // TILE
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * TILE
        width = min(TILE, inner - left)
        for j in range(width):
            s[j] = START
        b0 = row * count * inner + left
        whole = count - count % 8
        for i in range(0, whole, 8):
            b1 = b0 + inner
            b2 = b1 + inner
            b3 = b2 + inner
            b4 = b3 + inner
            b5 = b4 + inner
            b6 = b5 + inner
            b7 = b6 + inner
            for j in range(width):
                p0 = T(part(T(VALUE[b0 + j]), T(VALUE[b1 + j])))
                p1 = T(part(T(VALUE[b2 + j]), T(VALUE[b3 + j])))
                p2 = T(part(T(VALUE[b4 + j]), T(VALUE[b5 + j])))
                p3 = T(part(T(VALUE[b6 + j]), T(VALUE[b7 + j])))
                s[j] = A(combine(s[j], A(T(part(T(part(p0, p1)), T(part(p2, p3)))))))
            b0 = b7 + inner
        for i in range(whole, count):
            for j in range(width):
                s[j] = A(combine(s[j], A(T(VALUE[b0 + j]))))
            b0 += inner
        b0 = row * inner + left
        for j in range(width):
            acc = s[j]
            out[b0 + j] = store(FINISH(acc))
"""


def build(self, form, code, out_code, acc, first, last):
    """Compile a loop of the reduction ``self``: ``first`` and ``last`` say whether it maps and finishes."""
    d = dt.BY_CODE[code]
    start = self.start(d) if callable(self.start) else self.start
    # Integers are combined in the accumulator's type, floats of a block in their own.
    compute = d.compute if d.category >= 2 else ("u1" if d.compute == "b1" else d.compute)
    part_code = compute if d.category >= 2 and self.wide else acc
    used, parts = set(), {}
    parts["combine"] = scalar_source("combine", self.combine, ["acc", "x"], acc, used)
    parts["part"] = scalar_source("part", self.combine, ["acc", "x"], part_code, used)
    if self.map_fn and first:
        parts["map_"] = scalar_source("map_", self.map_fn, ["x"], compute, used)
    if self.finish_fn and last:
        parts["finish"] = scalar_source("finish", self.finish_fn, ["acc", "n"], acc, used)
    env, keys = {}, [repr((code, out_code, acc, part_code))]
    for c, names in sorted(used):
        e, k = emit.functions(sorted(names), c)
        env.update(e)
        keys.append(k)
    for name, (text, c) in parts.items():
        fn = jit.define(text, text[4:text.index("(")], {**env, "T_": casts.cast("T", c)[0],
                                                      "__name__": "numbagrad.kernel.generated"})
        fast = jit.loop_flags(c)
        if self.wide and name in ("combine", "part"):
            fast = (*fast, "reassoc")
        env[name] = inlined.njit(fast, forceinline=True, error_model="numpy")(fn)
        keys.append(f"{text}{c}{fast}")
    env["load"], k1 = casts.cast("load", code)
    env["store"], k2 = casts.cast("store", out_code)
    env["C"], env["A"] = casts.cast("T", compute)[0], casts.cast("T", acc)[0]
    env["T"] = casts.cast("T", part_code)[0]
    number = f'float("{start!r}")' if isinstance(start, float) else repr(start)
    size = LANES if form == "rows" else TILE
    env["stack"] = jit.nb().stack(acc, size)
    value = "map_(C(load(x[@])))" if self.map_fn and first else "load(x[@])"
    text = {("rows", True): ROWS_WIDE, ("rows", False): ROWS, ("columns", True): COLUMNS_WIDE,
            ("columns", False): COLUMNS}[form, self.wide]
    if form == "rows" and self.order and acc in ("f4", "f8"):
        text = ROWS_EXTREMUM.replace("EXTREMUM", f"f{self.order}imum")
    for name, replacement in (("START", f"A({number})"), ("FIRST", f"T({number})"), ("LANES", str(LANES)),
                              ("BLOCK", str(BLOCK)), ("SHORT", str(SHORT)), ("TILE", str(TILE)),
                              ("FINISH(acc)", "finish(acc, A(total))" if self.finish_fn and last else "acc")):
        text = text.replace(name, replacement)
    text = re.sub(r"VALUE\[([^\]]+)\]", lambda m: value.replace("@", m.group(1)), text)
    head = (f"def fold(x_a, out_a, count, inner, total, n, start, stop):\n"
            f"    x = ptr_{code}(x_a)\n    out = ptr_{out_code}(out_a)\n    s = stack()\n")
    return jit.compile_source(head + text, "fold", LETTERS + "ii", env, "\n".join([*keys, k1, k2, str(size)]))


def scalar_source(name, fn, args, code, used):
    """Source of a kernel function for a scalar function, and the code of its type."""
    out = expr.trace(fn, args)
    consts, body, results, names = expr.lines(out, code)
    if names:
        used.add((code, tuple(names)))
    lines = "".join(f"    {s}\n" for s in consts + body)
    return f"def {name}({', '.join(args)}):\n{lines}    return {results[0]}\n", code
