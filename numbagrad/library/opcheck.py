"""``opcheck``: whether an operator does what has been said of it."""

from __future__ import annotations

from ..base import modes
from ..core.tensor import Tensor
from ..testing import assert_close
from .operators import Packet, tensors_of

UTILS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


class OpCheckError(Exception):
    """A test of ``opcheck`` that failed."""


def opcheck(op, args, kwargs=None, *, test_utils=UTILS, raise_exception=True, atol=None, rtol=None):
    """Try an operator on arguments: {test: "SUCCESS" or the error}; ``raise_exception`` raises the first one.

    Its schema is compared with what it writes to and returns, its ``register_fake`` with what it returns, and its results and
    gradients with those of a second call."""
    kwargs = kwargs or {}
    op = getattr(op, "_opoverload", op)
    op = op.default if isinstance(op, Packet) else op
    names = (test_utils,) if isinstance(test_utils, str) else tuple(test_utils)
    if not set(names) <= set(UTILS):
        raise ValueError(f"opcheck(op, ..., test_utils={names}), expected test_utils to be subset of {UTILS} but it was not")
    found = {}
    for name in names:
        try:
            TESTS[name](op, args, kwargs, {"atol": atol, "rtol": rtol})
            found[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise OpCheckError(f"opcheck(op, ...): {name} failed with {error} (scroll up for stack trace)") from error
            found[name] = error
    return found


def copied(values, device=None):
    """Arguments with tensors of their own, leaves as before; those on another device have no values."""
    def copy(v):
        if isinstance(v, (list, tuple)):
            return type(v)(map(copy, v))
        if not isinstance(v, Tensor):
            return v
        with modes.no_grad():
            made = v.clone() if device is None else v.to(device)
        return made.requires_grad_(v.requires_grad)
    return {k: copy(v) for k, v in values.items()} if isinstance(values, dict) else tuple(map(copy, values))


def flat(result):
    """The tensors of a result."""
    return tensors_of(result if isinstance(result, (tuple, list)) else [result])


def schema(op, args, kwargs, tolerance):
    """What it writes to is what the schema says; results are no arguments (which the call itself checks)."""
    args, kwargs = op._schema.bind(copied(args), copied(kwargs))
    given = [*args, *[kwargs[a.name] for a in op._schema.arguments if a.kwarg_only]]
    before = copied([v for v in given])
    with modes.no_grad():
        op.run(args, kwargs)
    for argument, old, new in zip(op._schema.arguments, before, given):
        same = all([a.equal(b) or bool(((a == b) | (a != a) & (b != b)).all())
                    for a, b in zip(tensors_of([old]), tensors_of([new]))])
        if not same and not argument.is_write:
            raise RuntimeError(f"Argument {argument.name} is not defined as mutable but was mutated")


def registration(op, args, kwargs, tolerance):
    """Results of arguments that require grad do so too, where the operator writes to none."""
    args, kwargs = copied(args), copied(kwargs)
    if op._schema.is_mutable or not any([t.requires_grad for t in tensors_of((*args, *kwargs.values()))]):
        return
    outs = [t for t in flat(op(*args, **kwargs)) if t.is_floating_point() or t.is_complex()]
    if outs and not any([t.requires_grad for t in outs]):
        raise RuntimeError(f"{op._schema.name}: no result requires grad, though an argument does")


def fake(op, args, kwargs, tolerance):
    """``register_fake`` says the sizes, strides and dtypes that the kernel's results have."""
    with modes.no_grad():
        real = flat(op(*copied(args), **copied(kwargs)))
        said = flat(op.described(*op._schema.bind(copied(args, "meta"), copied(kwargs, "meta"))))
    if len(real) != len(said):
        raise AssertionError(f"the fake impl returned {len(said)} tensors, the operator {len(real)}")
    for a, b in zip(said, real):
        for what in ("shape", "dtype", "layout"):
            if getattr(a, what) != getattr(b, what):
                raise AssertionError(f"{what}: the fake impl returned {getattr(a, what)}, the operator {getattr(b, what)}")
        if a.stride() != b.stride():
            raise AssertionError(f"strides: the fake impl returned {a.stride()}, the operator {b.stride()}")


def again(op, args, kwargs, tolerance):
    """A second call gives the same results and gradients, and the fake impl is right."""
    fake(op, args, kwargs, tolerance)
    runs = [_with_gradients(op, args, kwargs) for _ in range(2)]
    for a, b in zip(*runs):
        assert_close(a, b, equal_nan=True, **tolerance)


def _with_gradients(op, args, kwargs):
    args, kwargs = copied(args), copied(kwargs)
    outs = flat(op(*args, **kwargs))
    leaves = [t for t in tensors_of((*args, *kwargs.values())) if t.requires_grad]
    wanted = [t for t in outs if t.requires_grad]
    if wanted and leaves:
        sum([t.sum().abs() for t in wanted]).backward()
    return [t.detach() for t in outs] + [t.grad for t in leaves if t.grad is not None]


TESTS = dict(zip(UTILS, (schema, registration, fake, again)))
