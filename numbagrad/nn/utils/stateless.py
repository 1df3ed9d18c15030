"""A call of a module with other tensors in the place of its parameters and buffers."""

import contextlib
import warnings

from ...core.tensor import Tensor
from ..modules.module import Module

__all__ = ["functional_call"]

_MISSING = object()


def _holder(module, path, memo):
    """The submodule that holds the tensor at a dotted path, and the tensor's name there."""
    prefix, _, name = path.rpartition(".")
    if prefix not in memo:
        found = module
        for part in prefix.split(".") if prefix else ():
            try:
                inner = getattr(found, part)
            except AttributeError:
                raise AttributeError(f"{found._get_name()} has no attribute `{part}`") from None
            if not isinstance(inner, Module):
                raise TypeError(f"submodule `{prefix}`: {inner} is not an instance of torch.nn.Module")
            found = inner
        memo[prefix] = found
    return memo[prefix], name


def _swap(module, name, tensor):
    """Put a tensor into a module (nothing for _MISSING), and return what was there."""
    if tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    if name == "":
        raise KeyError('tensor name can\'t be empty string ""')
    for table in (module._parameters, module._buffers):
        if name in table:
            old = table[name]
            if tensor is _MISSING:
                del table[name]
            else:
                table[name] = tensor
            return old
    old = getattr(module, name, _MISSING)
    if old is not _MISSING and old is not None and not isinstance(old, Tensor):
        raise TypeError(f"attribute `{name}`: {old} is not an instance of torch.Tensor")
    if tensor is not _MISSING:
        setattr(module, name, tensor)
    elif old is not _MISSING:
        delattr(module, name)
    return old


def _named_tensors(module):
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _tied(module, given):
    """``given`` with the same tensor under all names that are one tensor in the module."""
    names = {}
    for name, tensor in _named_tensors(module):
        names.setdefault(id(tensor), set()).add(name)
    out = dict(given)
    for group in names.values():
        known = [name for name in group if name in given]
        if len(group) == 1 or not known:
            continue
        if len(known) > 1 and len({id(given.get(name)) for name in group}) != 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(group)}, which are tied. Consider using "
                "tie_weights=False"
            )
        out.update(dict.fromkeys(group, given[known[0]]))
    return out


def _check_keys(module, given):
    known = {name for name, _ in _named_tensors(module)}
    lines = [
        f"{title} key(s): {', '.join(map(repr, sorted(names)))}."
        for title, names in (("Unexpected", set(given) - known), ("Missing", known - set(given)))
        if names
    ]
    if lines:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(lines))


@contextlib.contextmanager
def _reparametrize_module(module, parameters_and_buffers, tie_weights=False, strict=False, stack_weights=False):
    """Within it the module has the given tensors; buffers that it replaces are put into the dict at the end."""
    given = _tied(module, parameters_and_buffers) if tie_weights else parameters_and_buffers
    if strict:
        _check_keys(module, given)
    memo, old = {}, {}
    try:
        for path, tensor in given.items():
            old[path] = _swap(*_holder(module, path, memo), tensor)
        yield
    finally:
        for path, tensor in reversed(old.items()):
            now = _swap(*_holder(module, path, memo), tensor)
            if path in parameters_and_buffers:
                parameters_and_buffers[path] = now


def _functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    from ..parallel import DataParallel

    if isinstance(module, DataParallel):
        raise RuntimeError("The stateless API can't be used with nn.DataParallel module")
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **kwargs or {})


def functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """``module(*args, **kwargs)`` with the given tensors (by dotted names) in the place of its own.

    ``torch.func.functional_call`` has taken its place.
    """
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)
