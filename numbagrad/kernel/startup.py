"""Numba's own work without what no kernel needs: imports before its first compilation, questions that were answered."""

import functools
import importlib.util

from .guard import LOCK


@functools.cache
def without_scipy_linalg():
    """Have Numba not import all of ``scipy.linalg``, a quarter of that time, only to see whether there is a BLAS: that there is
    SciPy says as much, and Numba asks again where it compiles a product."""
    from numba.core.cpu import CPUContext

    usual = CPUContext.load_additional_registries

    def load_additional_registries(self):
        CPUContext.load_additional_registries = usual
        from numba.np import linalg

        ensure, linalg.ensure_blas = linalg.ensure_blas, _ensure_scipy
        try:
            from numba.np import arraymath  # (it asks when it is imported)
        finally:
            linalg.ensure_blas = ensure
        arraymath.ensure_blas = ensure
        usual(self)

    CPUContext.load_additional_registries = load_additional_registries


def _ensure_scipy():
    if importlib.util.find_spec("scipy") is None:
        raise ImportError("no SciPy")


@functools.cache
def with_known_calls():
    """Have Numba find the form of a call (an addition of two int64, a read through a pointer) once for all kernels: it tries
    every one that it knows at each line anew, a third of type inference."""
    from numba.core.types.functions import Function
    from numba.core.typing.templates import _OverloadFunctionTemplate as Overload

    usual = Function.get_call_type

    def get_call_type(self, context, args, kws):
        if kws or not LOCK._is_owned():
            return usual(self, context, args, kws)
        known = self.__dict__.setdefault("_numbagrad_calls", {})
        key = context, args
        if key in known:
            found, self._impl_keys[found.args] = known[key]  # (another call of such types may have found another)
            return found
        found = usual(self, context, args, kws)
        form = self._impl_keys[found.args]
        # What is written in Python is compiled anew for each set of flags.
        if form is self.typing_key or not any([issubclass(t, Overload) for t in self.templates]):
            known[key] = found, form
        return found

    Function.get_call_type = get_call_type
