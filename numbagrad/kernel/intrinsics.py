"""What kernels need of Numba, with intrinsics that it lacks: pointers of addresses, memory on the stack, sums in any order."""

from __future__ import annotations

from ..base import requires
from .fastmath import ACCUMULATE

POINTEE = {"b1": "uint8", "f2": "uint16", "bf": "uint16", "u1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32",
           "i8": "int64", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128", "u2": "uint16",
           "u4": "uint32", "u8": "uint64"}


class Numba:
    """What the rest needs of Numba, imported on first use."""

    def __init__(self):
        numba = requires.load_numba()
        from numba import types
        from numba.extending import intrinsic

        self.numba, self.types = numba, types
        self.njit = numba.njit
        self.i8, self.f8 = types.int64, types.float64
        self.pointers = {}

        def make(code, pointee):
            @intrinsic
            def pointer(typingctx, addr):
                sig = types.CPointer(pointee)(types.int64)

                def codegen(context, builder, signature, args):
                    return builder.inttoptr(args[0], context.get_value_type(signature.return_type))
                return sig, codegen
            return pointer

        self.stacks = {}
        for code, name in POINTEE.items():
            self.pointers[code] = make(code, getattr(types, name))
        self.accumulate = _accumulate(types, intrinsic)
        self.anew = _anew(intrinsic)
        self.fmaximum, self.fminimum = _extremum(intrinsic, "maximum"), _extremum(intrinsic, "minimum")

    def stack(self, code, size):
        """A kernel function without arguments: pointer to ``size`` elements of a dtype code on the stack, not set.

        Such memory belongs to one call, so kernels that use it may run on several threads, and LLVM knows that
        nothing else points to it. Take it once per kernel, outside of loops."""
        found = self.stacks.get((code, size))
        if found is None:
            pointee = getattr(self.types, POINTEE[code])
            pointer = self.types.CPointer(pointee)
            from numba.extending import intrinsic

            @intrinsic
            def stack(typingctx):
                def codegen(context, builder, signature, args):
                    from llvmlite import ir
                    with builder.goto_entry_block():  # (Numba's own helper would fill it with zeros)
                        slot = builder.alloca(ir.ArrayType(context.get_value_type(pointee), size))
                    return builder.bitcast(slot, context.get_value_type(signature.return_type))
                return pointer(), codegen
            found = self.stacks[code, size] = stack
        return found


def _extremum(intrinsic, name):
    """The kernel function ``fmaximum(a, b)`` or ``fminimum(a, b)`` of two floats, as in C23: NaN if one of them is.

    A loop of it is vector code, as comparisons that see to NaN are not."""
    @intrinsic
    def extremum(typingctx, a, b):
        def codegen(context, builder, signature, args):
            kind = args[0].type
            call = builder.module.declare_intrinsic(f"llvm.{name}", (kind,), _function(kind, [kind, kind]))
            return builder.call(call, args, fastmath=("nsz",))
        return a(a, b), codegen
    return extremum


def _function(*of):
    from llvmlite import ir
    return ir.FunctionType(*of)


def _anew(intrinsic):
    """The kernel function ``anew(x)``: x, of which LLVM does not see that it was just loaded, at no cost.

    A loop that may store what it loaded from there becomes one that stores under a condition, which takes some processors
    many times as long."""
    @intrinsic
    def anew(typingctx, x):
        def codegen(context, builder, signature, args):
            from llvmlite.ir import Instruction
            found = Instruction(builder.block, args[0].type, "freeze", [args[0]])
            builder._insert(found)
            return found
        return x(x), codegen
    return anew


def _accumulate(types, intrinsic):
    """The kernel function ``accumulate(total, x)``: ``total + x``, of which the order of additions is free."""
    def add(context, builder, kind, total, x):
        if isinstance(kind, types.Complex):
            a, b = context.make_complex(builder, kind, total), context.make_complex(builder, kind, x)
            a.real = builder.fadd(a.real, b.real, flags=ACCUMULATE)
            a.imag = builder.fadd(a.imag, b.imag, flags=ACCUMULATE)
            return a._getvalue()
        if isinstance(kind, types.Float):
            return builder.fadd(total, x, flags=ACCUMULATE)
        return builder.add(total, x)

    @intrinsic
    def accumulate(typingctx, total, x):
        kind = typingctx.unify_types(types.unliteral(total), types.unliteral(x))

        def codegen(context, builder, signature, args):
            total, x = [context.cast(builder, a, t, kind) for a, t in zip(args, signature.args)]
            return add(context, builder, kind, total, x)
        return kind(total, x), codegen
    return accumulate
