"""Sums fused with the elementwise loop that makes their terms: over rows (the innermost part) or over columns.

The sum's input is dense, (outer, count) or (count, inner) in row-major order; the loop's other operands must be walked
evenly in each part. Terms of a block are added in the compute type, blocks in float64, as the sums of ``dispatch.fold`` do.
"""

from __future__ import annotations

from ..kernel import emit, expr, jit
from .scopes import Operands
from .symbols import Symbol

BLOCK = 1024  # terms added before they go into the wide accumulator
ROWS = 64     # the same over rows, for columns
NARROW = 256  # columns below which a sum over rows is not fused
TILE = 512    # columns with accumulators on the stack


def parts(shape, strides, targets):
    """Per operand, one stride for each part of the shape; None when a part is not walked evenly.

    ``targets`` are the sizes of the parts, innermost last; their product is the number of elements."""
    dims = [(s, [st[d] for st in strides]) for d, s in enumerate(shape) if s != 1]
    out = []
    for target in reversed(targets):
        left, steps = target, None  # steps: stride of the part, then what the next dimension out must have
        size = 1
        while left > 1:
            if not dims:
                return None
            s, st = dims.pop()
            if s > left:
                if s % left:
                    return None
                dims.append((s // left, [k * left for k in st]))
                s = left
            elif left % s:
                return None
            if steps is None:
                steps = st
            elif any([k != q * size for k, q in zip(st, steps)]):
                return None
            size *= s
            left //= s
        out.append(steps or [0] * len(strides))
    if dims:
        return None
    out.reverse()
    return [[part[k] for part in out] for k in range(len(strides))]


def form_of(fold):
    """(parts of the sum's input, items) when a fused loop can take this sum; None otherwise."""
    op, (form, code, _, acc, first, _) = fold.op, fold.key
    count, inner, _, n = fold.numbers
    if not op.additive or op.map_fn is not None or not _plain_finish(op) or not first or n == 0:
        return None
    if acc != "f8" or code not in ("f4", "f8"):
        return None
    if form == "rows" and count == n:
        # The rows of the loop's own operands are found when they are known.
        return ("all", None)
    if form == "rows":
        return ("rows", [n // count, count]) if count * (n // count) == n else None
    # Narrow rows cost more in loop overhead than the pass over memory that fusing saves.
    return ("columns", [count, inner]) if count * inner == n and inner >= NARROW else None


def _plain_finish(op):
    if op.finish_fn is None:
        return True
    made = expr.trace(op.finish_fn, ["acc", "n"])
    return not expr.lines(made, "f8")[3]


class FoldLoop:
    """Like ``emit.Loop``, with sums ``folds`` [(output operand, expression, op, total, whether the last stage)] of one form."""

    def __init__(self, name, compute, ins, outs, scalars, values, expressions, inputs, shape, form, sizes, folds):
        self.name = "fused_" + name
        self.ins, self.outs, self.values, self.folds = ins, outs, values, folds
        self.compute, self.expressions, self.inputs, self.scalars = compute, expressions, inputs, scalars
        self.form, self.sizes = form, sizes
        self.strides = parts(shape, [o.strides for o in (*ins, *outs)], sizes)
        self.items = {"rows": sizes[0], "all": 1, "columns": -(-sizes[1] // TILE)}[form]
        self.elements = sizes[0] * sizes[1]

    def words(self, pointer):
        """The table, with ``pointer(operand)`` for addresses."""
        words = [pointer(o) for o in (*self.ins, *self.outs)] + [pointer(f[0]) for f in self.folds]
        words += [v if isinstance(v, Symbol) else float(v) for v in self.values]
        words += [int(f[3]) for f in self.folds] + list(self.sizes)
        for st in self.strides:
            words += st
        return words

    def pointwise(self):
        """The elementwise part with the terms of the sums as further outputs; see ``emit.Loop.pointwise``."""
        loop = emit.Pointwise(self.name, self.inputs, self.scalars, (*self.expressions, *[f[1] for f in self.folds]))
        return (loop, self.compute, tuple([o.dtype.code for o in self.ins]),
                (*[o.dtype.code for o in self.outs], *[self.compute] * len(self.folds)), len(self.sizes))

    def text(self):
        """(source, key of what its names mean, environment)."""
        c = self.compute
        every = [*self.expressions, *[f[1] for f in self.folds]]
        consts, body, results, used = expr.lines(every, c)
        read = set(expr.variables(every))
        codes = [o.dtype.code for o in (*self.ins, *self.outs)]
        operands = Operands(self.inputs, self.ins, self.outs)
        names = operands.places
        head, k = operands.pointers()
        for i, f in enumerate(self.folds):
            head.append(f"f{i}_p = ptr_{f[0].dtype.code}(args[{k}])")
            k += 1
        for s in self.scalars:
            head.append(f"{s} = T_(fargs[{k}])")
            k += 1
        for i in range(len(self.folds)):
            head.append(f"n{i} = float(args[{k}])")
            k += 1
        head += [f"count = args[{k + (self.form != 'columns')}]"]
        head += [f"inner = args[{k + 1}]"] if self.form == "columns" else [f"rows = args[{k}]"] if self.form == "all" else []
        k += 2
        steps = [st[-1] for st in self.strides]
        for j, n in operands.distinct():
            head.append(f"{n}_r = args[{k + 2 * j}]")
            if steps[j] not in (0, 1):
                head.append(f"{n}_t = args[{k + 2 * j + 1}]")
        head += consts

        def at(j, i):
            n = names[j]
            return f"{n}_o" if steps[j] == 0 else f"{n}_o + {i}" if steps[j] == 1 else f"{n}_o + {i} * {n}_t"

        loads = [(j, n) for j, n in enumerate(self.inputs) if n in read]
        m, e = len(self.inputs), len(self.expressions)
        sums = results[e:]

        def element(i):
            lines = [f"{n} = {operands.load(n, at(j, i))}" for j, n in loads if steps[j] != 0] + body
            return lines + [operands.store(f"o{q}", at(m + q, i), r) for q, r in enumerate(results[:e])]

        still = [f"{n} = {operands.load(n, at(j, ''))}" for j, n in loads if steps[j] == 0]
        finish = [self._finish(i, f) for i, f in enumerate(self.folds)]
        folds = range(len(self.folds))
        tail = []
        if self.form != "columns":
            # "all" goes through the rows with one accumulator.
            one = self.form == "all"
            start = [f"acc{i} = 0.0" for i in folds]
            if one:
                head += start
            loop = ["for row in range(rows):" if one else "for row in range(start, stop):"]
            inner = [f"{n}_o = row * {n}_r" for n in operands.order] + still + ([] if one else start)
            inner += [f"for first in range(0, count, {BLOCK}):"] + [f"    part{i} = T_(0)" for i in folds]
            inner += [f"    for i in range(first, min(first + {BLOCK}, count)):"]
            inner += ["        " + t for t in element("i")]
            inner += [f"        part{i} = accumulate(part{i}, {sums[i]})" for i in folds]
            inner += [f"    acc{i} += part{i}" for i in folds]
            for i in folds:
                end = finish[i]("0" if one else "row", f"acc{i}")
                if one:
                    tail += end
                else:
                    inner += end
        else:
            head += [f"sums{i} = wide{i}()" for i in folds] + [f"some{i} = part{i}()" for i in folds]
            loop = ["for item in range(start, stop):"]
            inner = [f"left = item * {TILE}", f"width = min({TILE}, inner - left)"]
            inner += ["for j in range(width):"] + [f"    sums{i}[j] = 0.0" for i in folds]
            inner += [f"for first in range(0, count, {ROWS}):", "    for j in range(width):"]
            inner += [f"        some{i}[j] = T_(0)" for i in folds]
            inner += [f"    for row in range(first, min(first + {ROWS}, count)):"]
            for j, n in operands.distinct():
                shift = "" if steps[j] == 0 else " + left" if steps[j] == 1 else f" + left * {n}_t"
                inner.append(f"        {n}_o = row * {n}_r{shift}")
            inner += ["        " + t for t in still] + ["        for j in range(width):"]
            inner += ["            " + t for t in element("j")] + [f"            some{i}[j] += {sums[i]}" for i in folds]
            inner += ["    for j in range(width):"] + [f"        sums{i}[j] += some{i}[j]" for i in folds]
            inner += ["for j in range(width):"]
            for i in folds:
                inner += ["    " + t for t in finish[i]("left + j", f"sums{i}[j]")]
        text = f"def {self.name}(table, start, stop):\n    args = ptr_i8(table)\n    fargs = ptr_f8(table)\n"
        text += "".join(f"    {line}\n" for line in head + loop + ["    " + t for t in inner] + tail)
        env, key = emit.functions(used, c)
        more, keys = emit.casts(c, codes[:m], codes[m:] + [f[0].dtype.code for f in self.folds])
        env.update({**more, **operands.env})
        keys = [key, *keys, operands.key]
        if self.form == "columns":
            for i in folds:
                env[f"wide{i}"], env[f"part{i}"] = jit.nb().stack("f8", TILE), jit.nb().stack(c, TILE)
            keys.append(f"stack {TILE}")
        return text, "\n".join(keys), env

    @staticmethod
    def _finish(i, fold):
        """Lines that store a finished sum."""
        out, _, op, _, last = fold
        made = expr.trace(op.finish_fn, ["acc", "n"]) if op.finish_fn and last else (expr.var("acc"),)
        table = {expr.var("acc"): expr.var(f"whole{i}"), expr.var("n"): expr.var(f"n{i}")}
        made = expr.substitute(made, table)
        consts, body, results, _ = expr.lines(made, "f8", f"u{i}_", f"k{i}_")

        def lines(at, acc):
            fixed = [s.replace("T_(", "float(") for s in consts]
            return [f"whole{i} = {acc}", *fixed, *body, f"f{i}_p[{at}] = store_{out.dtype.code}_({results[0]})"]
        return lines
