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


@functools.cache
def inline_overloads():
    """Have Numba's own functions in Python (``min``, ``int``, a scalar's ``view``) compiled like ours where a kernel is the
    first to call one: Numba would optimise each and turn it into machine code by itself. Elsewhere all stays as it is."""
    from numba.core.target_extension import CPU, jit_registry
    from numba.core.typing.templates import _OverloadFunctionTemplate as Template

    from .guard import LOCK

    usual = Template._get_jit_decorator

    def _get_jit_decorator(self):
        found = usual(self)
        ours = LOCK._is_owned() and found is jit_registry[CPU]
        return functools.partial(found, pipeline_class=_pipeline(False)) if ours else found

    Template._get_jit_decorator = _get_jit_decorator


def _own_internals(state):
    """Give a compilation its own compiled forms of what Numba calls by itself (complex products, integer powers, floor
    divisions). Numba keeps one for all, with the fast-math flags of whichever caller came first: a complex product that another
    kernel had contracted would come into one without flags, and into its file in the cache."""
    context = state.targetctx
    key = repr(sorted(getattr(context.fastmath, "flags", ()))), context.enable_boundscheck, context.enable_debuginfo
    context.cached_internal_func = _internals.setdefault(key, {})


WRAPPERS = ("wrapper", "cfunc_wrapper")  # Numba's names of the modules with a function's entries


@functools.cache
def _library():
    """Numba's library of one function, whose functions are optimised by passes that are set up once, and none twice."""
    from numba.core.codegen import JITCodeLibrary
    from numba.core.runtime import rtsys

    class Library(JITCodeLibrary):
        def finalize(self):
            # Numba gives each library its functions that count references, which kernels do not.
            counts = any([f.name.startswith("NRT_") for f in self._final_module.functions])
            if not counts:
                self._linking_libraries = [x for x in self._linking_libraries if x is not rtsys.library]
            super().finalize()

        def _optimize_functions(self, ll_module):
            ll_module.data_layout = self._codegen._data_layout
            # An entry is a call of the function: the passes over the whole module see it anyhow.
            found = () if ll_module.name in WRAPPERS else [f for f in ll_module.functions if not f.is_declaration]
            if found:
                passes, builder = self._codegen._function_pass_manager()
                for function in found:
                    passes.run(function, builder)

    return Library


@functools.cache
def kernels():
    """The pipeline for functions with an entry of their own."""
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import register_pass
    from numba.core.typed_passes import NativeLowering

    @register_pass(mutates_CFG=True, analysis_only=False)
    class KernelLowering(NativeLowering):
        """Lowering into a library of ours."""

        _name = "numbagrad_kernel_lowering"

        def run_pass(self, state):
            state.library = _library()(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
            return super().run_pass(state)

    class KernelCompiler(CompilerBase):
        def define_pipelines(self):
            _own_internals(self.state)
            manager = without_idle(DefaultPassBuilder.define_nopython_pipeline(self.state), self.state)
            _replace(manager, NativeLowering, KernelLowering)
            manager.finalize()
            return [manager]

    return KernelCompiler


def _replace(manager, former, ours):
    manager.passes = [(ours if step is former else step, text) for step, text in manager.passes]


@functools.cache
def _pipeline(optimized, divide=None):
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import register_pass
    from numba.core.typed_passes import NativeLowering
    from numba.core.untyped_passes import TranslateByteCode

    class Inlined(_library()):
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
            _replace(manager, NativeLowering, InlinedLowering)
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
