"""Taking a CompileResult of Numba apart for storage, and linking a stored one quickly.

Numba's own way starts its whole typing machinery (0.25 s, once) and parses bitcode that is rarely needed (0.7 ms a
kernel) before stored machine code may run. Here each waits until something asks for it.
"""

import functools

_resolved = set()


def reduce(cres):
    """(external symbols, functions that must run before linking, parts) of a CompileResult, to be stored by `entry`."""
    module = cres.library._final_module
    defined = [v.name for v in (*module.functions, *module.global_variables) if not v.is_declaration]
    symbols = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    symbols += [g.name for g in module.global_variables if g.is_declaration]
    (label, _, (machine_code, bitcode)), *rest = cres._reduce()
    # A module also declares what it does not use; a symbol in use is named in the object file. The other prefix is
    # of Numba's own late linking.
    symbols = [s for s in symbols if s.encode() in machine_code and not s.startswith(".numba.unresolved$")]
    return symbols, cres.reload_init, ((label, (machine_code, bitcode, defined)), *rest)


def rebuild(target_context, symbols, starters, parts):
    """The CompileResult that :func:`reduce` took apart, or None when a symbol it needs does not exist here."""
    from numba.core.compiler import CompileResult

    for start in starters:
        # Parallel code needs its threading layer, which registers symbols.
        start()
    if not _resolvable(symbols, target_context):
        return None
    # Numba's compiler lock is held: nobody else makes libraries meanwhile.
    codegen = target_context.codegen()
    usual, codegen._library_class = codegen._library_class, _loaded_library()
    try:
        return CompileResult._rebuild(target_context, *parts)
    finally:
        codegen._library_class = usual


@functools.cache
def _loaded_library():
    from llvmlite.binding import parse_bitcode
    from numba.core.codegen import JITCodeLibrary

    class LoadedLibrary(JITCodeLibrary):
        """Machine code from the cache. Its bitcode, which only a newly compiled caller needs, is parsed on demand:
        that halves the time of a load."""

        _bitcode = None

        @classmethod
        def _unserialize(cls, codegen, state):
            name, (machine_code, bitcode, defined) = state
            self = cls(codegen, name)
            self.enable_object_caching()
            self._set_compiled_object(machine_code)
            self._finalize_final_module()
            self._bitcode = bitcode
            codegen._engine._defined_symbols.update(defined)
            return self

        def _get_module_for_linking(self):
            if self._bitcode is not None:
                self._shared_module, self._bitcode = parse_bitcode(self._bitcode), None
            return super()._get_module_for_linking()

    return LoadedLibrary


def _resolvable(symbols, target_context):
    """Whether every external symbol is known to LLVM; an unknown one would end the process at link time.

    Numba's full start (``refresh``, some 200 modules, 0.25 s) is needed only by code that names symbols registered
    there. Most code names at most helpers of the memory runtime, for which registering them is enough.
    """
    from llvmlite.binding import address_of_symbol

    missing = [s for s in symbols if s not in _resolved and not address_of_symbol(s)]
    for start in (_register_runtime, target_context.refresh):
        if not missing:
            break
        start()
        missing = [s for s in missing if not address_of_symbol(s)]
    if missing:
        return False
    _resolved.update(symbols)
    return True


def _register_runtime():
    """Make the C helpers of Numba's memory runtime known to LLVM, without compiling its own functions (30 ms): the
    ones that a kernel uses are in its file."""
    from llvmlite.binding import add_symbol

    try:
        from numba.core.runtime import _nrt_python
    except ImportError:
        return
    for name, place in _nrt_python.c_helpers.items():
        add_symbol(name if name.startswith("_") else "NRT_" + name, place)
