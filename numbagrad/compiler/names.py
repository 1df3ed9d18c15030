"""Names of ``torch.compiler`` that mark code for PyTorch's compiler: here a capture runs the same code, marked or not."""

from __future__ import annotations

import functools

from ..core.creation import from_numpy
from ..core.tensor import Tensor

BACKEND = ["numba"]


def disable(fn=None, recursive=True, *, reason=None):
    """A decorator that changes nothing: a capture follows what it marks, with the results of eager code."""
    return (lambda f: f) if fn is None else fn


def nested_compile_region(fn=None, *, options=None, max_reuse_entries=8, reuse_hash_fn=None):
    """A decorator that changes nothing: loops of equal form share their kernels as it is."""
    return (lambda f: f) if fn is None else fn


def substitute_in_graph(original_fn, *, can_constant_fold_through=False, skip_signature_check=False):
    """A decorator that changes nothing: captures run ``original_fn`` itself."""
    return lambda traceable_fn: traceable_fn


def wrap_numpy(fn):
    """``fn``, a function of NumPy arrays, as one of tensors."""
    @functools.wraps(fn)
    def wrapped(*args, **kwargs):
        def there(x):
            return x.numpy() if isinstance(x, Tensor) else x

        def back(x):
            return from_numpy(x) if hasattr(x, "__array_interface__") and getattr(x, "ndim", 0) else x
        found = fn(*map(there, args), **{name: there(x) for name, x in kwargs.items()})
        return type(found)(map(back, found)) if type(found) in (tuple, list) else back(found)
    return wrapped


def reset():
    """Accepted for PyTorch's sake: compiled functions forget by ``reset`` of their own."""


def cudagraph_mark_step_begin():
    """Accepted for PyTorch's sake: results of a step have memory of their own."""


def list_backends(exclude_tags=("debug", "experimental")):
    """The one backend there is."""
    return list(BACKEND)


def get_default_backend():
    """The one backend there is."""
    return BACKEND[0]


def set_default_backend(backend):
    """Accepted for PyTorch's sake: whatever is asked for, Numba compiles."""


def is_exporting():
    """False: nothing is exported."""
    return False
