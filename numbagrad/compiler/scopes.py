"""Loads and stores that tell LLVM which memory they cannot meet.

A fused loop may have many operands. LLVM compares at most a handful of address ranges before it gives up vectorising, so
each operand gets an alias scope of its own: memory of different operands never overlaps (the passes see to that), and an
operand that is read and written is one operand.
"""

from __future__ import annotations

import functools

from ..base import dtypes as dt
from ..kernel import jit

PLAIN = frozenset(d.code for d in dt.ALL if not d.is_complex)


@functools.cache
def access(code, k, count):
    """Kernel functions (get(pointer, i), put(pointer, i, value)) for operand ``k`` of ``count``."""
    from llvmlite import ir
    from numba.extending import intrinsic

    types = jit.nb().types
    element = getattr(types, jit.POINTEE[code])
    pointer = types.CPointer(element)

    def mark(builder, instruction):
        module = builder.module
        domain = module.add_metadata([ir.MetaDataString(module, "numbagrad operands")])
        scope = [module.add_metadata([ir.MetaDataString(module, f"operand {i}"), domain]) for i in range(count)]
        instruction.set_metadata("alias.scope", module.add_metadata([scope[k]]))
        if count > 1:
            instruction.set_metadata("noalias", module.add_metadata([s for i, s in enumerate(scope) if i != k]))

    @intrinsic
    def get(typingctx, p, i):
        def codegen(context, builder, signature, args):
            load = builder.load(builder.gep(args[0], [args[1]]))
            mark(builder, load)
            return load
        return element(pointer, types.int64), codegen

    @intrinsic
    def put(typingctx, p, i, value):
        def codegen(context, builder, signature, args):
            store = builder.store(args[2], builder.gep(args[0], [args[1]]))
            mark(builder, store)
            return context.get_dummy_value()
        return types.void(pointer, types.int64, element), codegen

    return get, put


class Operands:
    """Names, pointers and accesses of a loop's inputs and outputs in its text."""

    def __init__(self, inputs, ins, outs):
        self.codes = [o.dtype.code for o in (*ins, *outs)]
        self.names = [*inputs, *[f"o{i}" for i in range(len(outs))]]
        keys = {}
        for n, o in zip(inputs, ins):
            keys.setdefault((o.buffer.home, *o.key[1:]), n)
        # An output in the place of an input has its pointer and strides: LLVM must see that the addresses are equal.
        places = [(o.buffer.home, *o.key[1:]) for o in outs]
        self.shared = {f"o{i}": keys[p] for i, p in enumerate(places) if p in keys}
        self.order = [n for n in self.names if n not in self.shared]
        self.places = [self.shared.get(n, n) for n in self.names]
        self.scoped = all([c in PLAIN for c in self.codes])
        self.env, self.key = {"anew_": jit.nb().anew} if self.shared else {}, ""
        if self.scoped:
            for n, c in zip(self.names, self.codes):
                k = self.order.index(self.shared.get(n, n))
                self.env["get_" + n], self.env["put_" + n] = access(c, k, len(self.order))
            self.key = f"scopes {[(n, self.shared.get(n, n), c) for n, c in zip(self.names, self.codes)]}"

    def pointers(self):
        """Lines that take the addresses from the table, and how many words they are."""
        lines = []
        for k, (n, c) in enumerate(zip(self.names, self.codes)):
            other = self.shared.get(n)
            lines.append(f"{n}_p = {other}_p" if other else f"{n}_p = ptr_{c}(args[{k}])")
        return lines, len(self.names)

    def distinct(self):
        """(number, name) of the operands that are places of their own."""
        return [(j, n) for j, n in enumerate(self.names) if n not in self.shared]

    def load(self, n, i):
        c = self.codes[self.names.index(n)]
        value = f"get_{n}({n}_p, {i})" if self.scoped else f"{n}_p[{i}]"
        return f"load_{c}_({f'anew_({value})' if n in self.shared.values() else value})"

    def store(self, n, i, value):
        c = self.codes[self.names.index(n)]
        return f"put_{n}({n}_p, {i}, store_{c}_({value}))" if self.scoped else f"{n}_p[{i}] = store_{c}_({value})"
