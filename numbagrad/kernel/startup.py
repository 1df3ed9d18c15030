"""What Numba does before its first compilation, without what no kernel needs."""

import functools
import importlib.util


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
