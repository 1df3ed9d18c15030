"""Refusing bad values: at once in eager code, in every replay of a compiled step."""

from __future__ import annotations

from numbagrad.base import modes
from numbagrad.kernel import tape
from numbagrad.kernel.jit import kernel


@kernel
def note_true(x: "*u1", found: "*i8", start: int, stop: int):
    """int64 found (1,) = 1 where an element of uint8 x (n,) is not 0."""
    for i in range(start, stop):
        if x[i] != 0:
            found[0] = 1


def constant(name, argument, t):
    """Refuse a tensor that requires a gradient where the function has none for it."""
    if t._rg and modes.is_grad_enabled():
        raise RuntimeError(f"The function '{name}' is not differentiable with respect to argument '{argument}'. This input "
                           "cannot have requires_grad True.")


def refusal(exception, text):
    """A function ``refuse(condition)`` that raises ``exception(text)`` if a bool tensor of one element is true."""
    def raises(*_):
        raise exception(text)
    flag = tape.Flag(raises)

    def refuse(condition):
        if tape.TAPE and tape.active() is not None:
            found = flag.take(condition._kind)
            note_true[condition._kind](condition._ptr, found.address, 0, 1)
            found.check()
        elif not condition._kind.meta and condition.item():
            raise exception(text)
    return refuse
