"""Update loops of the optimizers: one native call advances every parameter of a group.

A loop sees one parameter. ``Table`` wraps it in a native function that walks a table with one row of addresses and
integers for each parameter, so that the cost of a call from Python is paid once for a group and not once for a layer.
"""

import types
from array import array

from ..kernel.jit import Kernel, T, compile_source, sqrt


class Table(Kernel):
    """A kernel whose leading ``rows`` parameters come from a row of a table; the rest are the same for all rows."""

    def __init__(self, fn, rows):
        super().__init__(fn)
        self.rows = rows
        self._wide = None

    @property
    def wide(self):
        """The same kernel for step counts and other numbers of a parameter in float64."""
        if self._wide is None:
            fn = self.fn
            copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__)
            notes = fn.__annotations__.items()
            copy.__annotations__ = {name: "*f8" if note == "*f4" else note for name, note in notes}
            self._wide = Table(copy, self.rows)
        return self._wide

    def _wrap(self, inner, letters, key):
        params = self.parameters(letters)
        taken = []
        for i, (_, kind) in enumerate(params[: self.rows]):
            cell = f"table[row + {i}]"
            taken.append(cell if kind == "i" else f"ptr_{kind}({cell})")
        shared = params[self.rows :]
        names = "".join(f", {name}" for name, _ in shared)
        source = (
            f"def {self.name}(address_, count_{names}):\n"
            "    table = ptr_i8(address_)\n"
            "    for k in range(count_):\n"
            f"        row = k * {self.rows}\n"
            f"        body({', '.join(taken)}{names})\n"
        )
        letters_of_args = "ii" + "".join(kind for _, kind in shared)
        return compile_source(source, self.name, letters_of_args, {"body": inner}, key, self.flags(letters))

    def rows_form(self, dtype):
        """The compiled form ``fn(table, start, stop)`` over a range of rows."""
        key = dtype, "rows"
        return self.natives.get(key) or self._make(key, dtype, self._wrap_rows)

    def _wrap_rows(self, inner, letters, key):
        """The form ``fn(table, start, stop)`` over a range of rows: table holds (address of the rows, count, shared...)."""
        params = self.parameters(letters)
        taken = []
        for i, (_, kind) in enumerate(params[: self.rows]):
            cell = f"cells[row + {i}]"
            taken.append(cell if kind == "i" else f"ptr_{kind}({cell})")
        shared = [f"{'f' if kind == 'f' else ''}args[{i + 2}]" for i, (_, kind) in enumerate(params[self.rows :])]
        source = (
            f"def {self.name}(table, start, stop):\n"
            "    args = ptr_i8(table)\n"
            "    fargs = ptr_f8(table)\n"
            "    cells = ptr_i8(args[0])\n"
            "    for k in range(start, stop):\n"
            f"        row = k * {self.rows}\n"
            f"        body({', '.join(taken + shared)})\n"
        )
        return compile_source(source, self.name, "iii", {"body": inner}, key, self.flags(letters), entry=False)

    def run(self, kind, cells, *shared):
        """Run over the rows in the flat list ``cells`` (addresses and sizes), which this call keeps alive."""
        if not cells:
            return
        if kind.cpu:
            table = array("q", cells)
            address, length = table.buffer_info()
            self[kind](address, length // self.rows, *shared)
        else:
            for row in range(0, len(cells), self.rows):
                self[kind].elements((*cells[row : row + self.rows], *shared))


def table(rows):
    return lambda fn: Table(fn, rows)


@table(5)
def sgd(
    p: "*T", g: "*T", buf: "*T", n: int, first: int,
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: int, maximize: int,
):  # fmt: skip
    """p -= lr * d with d = g + weight_decay * p, through the momentum buffer where there is one (``buf`` not 0)."""
    sign = T(-1.0) if maximize else T(1.0)
    decay, rate, keep, fresh = T(weight_decay), T(lr), T(momentum), T(1.0 - dampening)
    # A decay of 0 must not turn an infinite parameter into NaN, hence the selections instead of plain products.
    if momentum == 0.0:
        if weight_decay == 0.0:
            for i in range(n):
                p[i] -= rate * (sign * g[i])
        else:
            for i in range(n):
                p[i] -= rate * (sign * g[i] + decay * p[i])
        return
    if first:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            buf[i] = d
            p[i] -= rate * (d + keep * d if nesterov else d)
    else:
        for i in range(n):
            d = sign * g[i] + (decay * p[i] if weight_decay != 0.0 else T(0.0))
            b = keep * buf[i] + fresh * d
            buf[i] = b
            p[i] -= rate * (d + keep * b if nesterov else b)


@table(7)
def adam(
    p: "*T", g: "*T", m: "*T", v: "*T", v_max: "*T", step: "*f4", n: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: int, amsgrad: int, maximize: int,
):  # fmt: skip
    """One step of Adam: m and v are the running means of g and g**2, p -= lr * (m / c1) / (sqrt(v / c2) + eps).

    c1 and c2 = 1 - beta**step undo the bias towards the zero start. The decay is added to g, or scales p when
    ``decoupled``; ``amsgrad`` puts the largest v so far, v_max, in the place of v.
    """
    step[0] += 1
    t = step[0]
    correct1 = 1.0 - beta1**t
    correct2 = 1.0 - beta2**t
    sign = T(-1.0) if maximize else T(1.0)
    rate, root2, small = T(lr / correct1), T(correct2**0.5), T(eps)
    new1, keep2, new2 = T(1.0 - beta1), T(beta2), T(1.0 - beta2)
    decay = T(0.0) if decoupled else T(weight_decay)
    shrink = T(1.0 - lr * weight_decay) if decoupled else T(1.0)
    if amsgrad:
        for i in range(n):
            x = p[i] * shrink
            d = sign * g[i] + (decay * x if weight_decay != 0.0 else T(0.0))
            mean = m[i] + new1 * (d - m[i])
            square = keep2 * v[i] + new2 * d * d
            largest = v_max[i]
            # NaN must win, as in torch.maximum.
            largest = square if square > largest or square != square else largest
            m[i] = mean
            v[i] = square
            v_max[i] = largest
            p[i] = x - rate * (mean / (sqrt(largest) / root2 + small))
    else:
        for i in range(n):
            x = p[i] * shrink
            d = sign * g[i] + (decay * x if weight_decay != 0.0 else T(0.0))
            mean = m[i] + new1 * (d - m[i])
            square = keep2 * v[i] + new2 * d * d
            m[i] = mean
            v[i] = square
            p[i] = x - rate * (mean / (sqrt(square) / root2 + small))
