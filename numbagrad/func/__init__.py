"""Functions of functions: ``grad``, ``vjp``, ``jvp``, ``vmap`` and their compositions, as ``torch.func`` has them."""

from . import batch_at, batch_functions, batch_index, batch_layers, batch_random, custom_function, dual_rules  # noqa: F401
from .batch_norm import replace_all_batch_norm_modules_
from .calls import functional_call, stack_module_state
from .jacobians import debug_unwrap, functionalize, hessian, jacfwd, jacrev, jvp, linearize
from .reverse import grad, grad_and_value, vjp
from .vmap import chunk_vmap, vmap

for _public in (chunk_vmap, debug_unwrap, functional_call, functionalize, grad, grad_and_value, hessian, jacfwd, jacrev, jvp,
                linearize, replace_all_batch_norm_modules_, stack_module_state, vjp, vmap):
    _public.__module__ = __name__

__all__ = ["grad", "grad_and_value", "vmap", "replace_all_batch_norm_modules_", "functionalize", "hessian", "jacfwd",
           "jacrev", "jvp", "linearize", "vjp", "functional_call", "stack_module_state", "debug_unwrap"]

_ABSENT = {"rearrange": "the einops package has it"}


def __getattr__(name):
    why = f": {_ABSENT[name]}" if name in _ABSENT else ""
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.func.{name} is not available here{why})")
