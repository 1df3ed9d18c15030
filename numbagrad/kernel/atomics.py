"""What native threads tell each other by words of memory: kernel functions on the int64 at an address.

``look``, ``exchange``, ``swap`` and ``add`` are seen by all threads in one order. ``tell`` is seen after what was stored before
it, but maybe after a later ``look`` of the same thread: where that matters it is an ``exchange``.
"""

from __future__ import annotations

import functools
import platform
from types import SimpleNamespace


@functools.cache
def atomics():
    """``look(address)``, ``tell(address, value)``, ``exchange``, ``add``, ``swap(address, old, new)``,
    ``pause()`` and ``let_others()``."""
    from llvmlite import binding, ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    word, number = ir.IntType(64), ir.IntType(32)

    def place(builder, address):
        return builder.inttoptr(address, word.as_pointer())

    @intrinsic
    def look(typingctx, address):
        """The int64 at an address, as it is now."""
        def codegen(context, builder, signature, args):
            return builder.load_atomic(place(builder, args[0]), "seq_cst", 8)
        return types.int64(types.int64), codegen

    @intrinsic
    def tell(typingctx, address, value):
        """Store an int64 and what was stored before it."""
        def codegen(context, builder, signature, args):
            builder.store_atomic(args[1], place(builder, args[0]), "release", 8)
            return context.get_dummy_value()
        return types.none(types.int64, types.int64), codegen

    @intrinsic
    def exchange(typingctx, address, value):
        """Store an int64; returns what was there."""
        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("xchg", place(builder, args[0]), args[1], "seq_cst")
        return types.int64(types.int64, types.int64), codegen

    @intrinsic
    def add(typingctx, address, value):
        """Add to an int64; returns what was there."""
        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("add", place(builder, args[0]), args[1], "seq_cst")
        return types.int64(types.int64, types.int64), codegen

    @intrinsic
    def swap(typingctx, address, old, new):
        """Replace an int64 if it has a value; whether it had."""
        def codegen(context, builder, signature, args):
            found = builder.cmpxchg(place(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
            return builder.zext(builder.extract_value(found, 1), word)
        return types.int64(types.int64, types.int64, types.int64), codegen

    # (LLVM's name of the instruction for waiting loops, its operands)
    x86, arm = ("llvm.x86.sse2.pause", ()), ("llvm.aarch64.hint", (1,))
    name, operands = {"x86_64": x86, "amd64": x86, "aarch64": arm, "arm64": arm}.get(platform.machine().lower(), (None, ()))

    @intrinsic
    def pause(typingctx):
        """Leave the processor's units to others for a moment."""
        def codegen(context, builder, signature, args):
            if name:
                form = ir.FunctionType(ir.VoidType(), [number] * len(operands))
                builder.call(cgutils.get_or_insert_function(builder.module, form, name), [number(k) for k in operands])
            return context.get_dummy_value()
        return types.none(), codegen

    can_yield = binding.address_of_symbol("sched_yield") is not None

    @intrinsic
    def let_others(typingctx):
        """Leave the processor to other threads where the system has a call for it."""
        def codegen(context, builder, signature, args):
            if can_yield:
                builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, []), "sched_yield"), [])
            return context.get_dummy_value()
        return types.none(), codegen

    return SimpleNamespace(look=look, tell=tell, exchange=exchange, add=add, swap=swap, pause=pause, let_others=let_others)
