"""Compiling kernels, and functions that only other compiled functions call: Numba's front end, for the latter without its back
end.

Numba optimises each function that a kernel calls, and turns it into machine code, before it does both again for the
kernel that takes it in. Scalar functions need neither, and none needs machine code: leaving that out halves a cold start.
Passes of the front end that find nothing in kernels are left out, too, a tenth of the rest.
"""

import functools
import types


def njit(fast, *, optimized=False, divide=None, **options):
    """``numba.njit`` for functions that are called from compiled code only.

    ``fast`` are its fast-math flags. They have no default: Numba gives a function without them those of whichever caller
    compiles it first, and keeps the result for every other caller.

    ``optimized`` ones, those with loops, are optimised before they are called too: an array on the stack, for one, comes to
    lie in registers only in the round after the one that unrolled the loops over it. ``divide`` is a function of two numbers
    that stands for every ``/`` in the function's text."""
    import numba

    return numba.njit(pipeline_class=_pipeline(optimized, divide), no_cpython_wrapper=True, no_cfunc_wrapper=True,
                      fastmath=set(fast) if fast else False, **options)


def without_idle(manager, state):
    """A pass manager without the passes that nothing in a kernel is for: notes for ``inspect_types`` (which also keep the whole
    front end's objects alive), expressions of arrays, inner functions where there are none."""
    from numba.core.typed_passes import AnnotateTypes, NopythonRewrites
    from numba.core.untyped_passes import InlineClosureLikes

    idle = {AnnotateTypes, NopythonRewrites}
    if not any([isinstance(c, types.CodeType) for c in state.func_id.code.co_consts]):
        idle.add(InlineClosureLikes)
    manager.passes = [p for p in manager.passes if p[0] not in idle]
    return manager


_internals: dict = {}


def _own_internals(state):
    """Give a compilation its own compiled forms of what Numba calls by itself (complex products, integer powers, floor
    divisions). Numba keeps one for all, with the fast-math flags of whichever caller came first: a complex product that another
    kernel had contracted would come into one without flags, and into its file in the cache."""
    context = state.targetctx
    key = repr(sorted(getattr(context.fastmath, "flags", ()))), context.enable_boundscheck, context.enable_debuginfo
    context.cached_internal_func = _internals.setdefault(key, {})


@functools.cache
def kernels():
    """The pipeline for functions with an entry of their own."""
    from numba.core.compiler import CompilerBase, DefaultPassBuilder

    class KernelCompiler(CompilerBase):
        def define_pipelines(self):
            _own_internals(self.state)
            manager = without_idle(DefaultPassBuilder.define_nopython_pipeline(self.state), self.state)
            manager.finalize()
            return [manager]

    return KernelCompiler


@functools.cache
def _pipeline(optimized, divide=None):
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import register_pass
    from numba.core.typed_passes import NativeLowering
    from numba.core.untyped_passes import TranslateByteCode

    class Inlined(JITCodeLibrary):
        """LLVM code with that of the functions it calls, and no machine code."""

        def _optimize_final_module(self):
            if optimized:
                super()._optimize_final_module()

        def _finalize_final_module(self):
            self._finalize_dynamic_globals()
            self._verify_declare_only_symbols()
            self._finalized = True

    @register_pass(mutates_CFG=True, analysis_only=False)
    class InlinedLowering(NativeLowering):
        """Lowering into such a library, without an entry for Python."""

        _name = "numbagrad_inlined_lowering"

        def run_pass(self, state):
            from numba.core.compiler import _LowerResult

            name = state.func_id.func_qualname
            state.library = Inlined(state.targetctx.codegen(), name)
            state.flags.no_compile = True
            super().run_pass(state)
            # Numba knows a function by its entry, a builtin: this one is as good as any that nobody calls.
            entry = [name].index
            lowered = state["cr"]
            state.targetctx.insert_user_function(entry, lowered.fndesc, [state.library])
            state.reload_init.extend(state.library._reload_init)
            state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=entry, env=lowered.env)
            return True

    class InlinedCompiler(CompilerBase):
        def define_pipelines(self):
            _own_internals(self.state)
            manager = without_idle(DefaultPassBuilder.define_nopython_pipeline(self.state), self.state)
            manager.passes = [(InlinedLowering if step is NativeLowering else step, text)
                              for step, text in manager.passes]
            if divide is not None:
                manager.add_pass_after(_divisions(divide), TranslateByteCode)
            manager.finalize()
            return [manager]

    return InlinedCompiler


@functools.cache
def _divisions(divide):
    """A pass that turns every ``/`` into a call of ``divide``."""
    import operator

    from numba.core import ir
    from numba.core.compiler_machinery import FunctionPass, register_pass

    @register_pass(mutates_CFG=False, analysis_only=False)
    class Divisions(FunctionPass):
        _name = "numbagrad_divisions"

        def __init__(self):
            FunctionPass.__init__(self)

        def run_pass(self, state):
            changed = False
            for block in state.func_ir.blocks.values():
                body = []
                for step in block.body:
                    e = step.value if isinstance(step, ir.Assign) else None
                    if isinstance(e, ir.Expr) and e.op in ("binop", "inplace_binop") and e.fn in (
                            operator.truediv, operator.itruediv):
                        name = block.scope.redefine("$divide", step.loc)
                        value = ir.Global("divide", divide, step.loc)
                        body.append(ir.Assign(value, name, step.loc))
                        step = ir.Assign(ir.Expr.call(name, (e.lhs, e.rhs), (), step.loc), step.target, step.loc)
                        changed = True
                    body.append(step)
                block.body = body
            if changed:
                from numba.core.ir_utils import build_definitions
                state.func_ir._definitions = build_definitions(state.func_ir.blocks)
            return changed

    return Divisions
