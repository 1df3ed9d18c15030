"""PyTorch's own calls of its ops (``op_db``), and the same calls under numbagrad."""

import types
import warnings

from module_db_helpers import to_ours

import numbagrad as ng


def op_db():
    """The database, or None where PyTorch or its test files are absent."""
    from module_db_helpers import module_db
    if module_db() is None:  # which also puts in place what the files import
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db as found
    return found


def name_of(info):
    return info.name + ("." + info.variant_test_name if info.variant_test_name else "")


def seeded(function, *args, **kwargs):
    """The call from a fixed state of the generator, for both libraries."""
    ng.manual_seed(42)
    return function(*args, **kwargs)


def ours_of(info):
    """The function of ours that the entry calls, or None where its name is absent."""
    op = info.op
    if isinstance(op, types.FunctionType) and op.__module__.startswith("torch.testing"):
        return rewritten(op) if all(map(there, names_in(op.__code__))) else None
    return named(info.name)


def named(name):
    """A function by its dotted name, or a method."""
    found = ng
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if callable(found) and not isinstance(found, ng.dtype) else getattr(ng.Tensor, name, None)


def names_in(code):
    """Attributes that a lambda of the database takes, with those of the lambdas in it."""
    return [*code.co_names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in names_in(c))]


PLACES = (ng, ng.Tensor, ng.nn.functional, ng.linalg, ng.special)
# Names in the database's own functions that are no names of PyTorch.
AROUND = {"torch", "wrapper_set_seed", "Tensor", "nn", "functional", "linalg", "special", "ops", "aten"}


def there(name):
    return name in AROUND or any([hasattr(place, name) and not isinstance(getattr(place, name), ng.dtype) for place in PLACES])


def rewritten(op):
    """A lambda of the database over numbagrad in place of ``torch``."""
    cells = op.__closure__ and tuple(types.CellType(to_ours(c.cell_contents)) for c in op.__closure__)
    scope = {**op.__globals__, "torch": ng, "wrapper_set_seed": seeded}
    return types.FunctionType(op.__code__, scope, op.__name__, op.__defaults__, cells)


def ours(sample, known=None):
    """(positional, keyword) arguments of a sample for our function; one tensor stays one."""
    known = {} if known is None else known
    return [to_ours(sample.input, known), *to_ours(list(sample.args), known)], to_ours(sample.kwargs, known)
