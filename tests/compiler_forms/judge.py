"""One form of one op, run eagerly and compiled; what differs in words."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import traceback
import warnings

import numpy as np

import numbagrad as ng
from numbagrad.compiler import CaptureError

from .subject import Given

# Of the largest number of a result. Fused loops contract other products and sums ride on loops in another order.
CLOSE = {"float64": 1e-12, "complex128": 1e-12, "float32": 1e-6, "complex64": 1e-6, "float16": 4e-3, "bfloat16": 1.6e-2}


FLOOR = 1e-2  # gradients that are zero but for rounding, as of what is normalized: of the terms that cancel


# Ops whose result is a Python value (each is a variant) or has a shape that depends on values (refused, with the line).
BY_VALUE = ("equal", "allclose", "nonzero", "argwhere", "unique", "unique_consecutive", "bincount", "masked_select", "one_hot",
            "repeat_interleave", "is_nonzero", "item")


class Found(Exception):
    """A difference: its kind, the call, words."""

    def __init__(self, kind, at, text):
        self.kind, self.at, self.text = kind, at, text
        super().__init__(f"{kind} in call {at}: {text}")


def loaded(path, subject):
    """The module of a program's text."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    vars(module).update(OP=subject.op.callable, **subject.constants)
    for i, a in enumerate(subject.values[0]):
        setattr(module, f"V{i}", ng.tensor(a))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass
class Look:
    """A tensor as it is seen from outside."""

    facts: tuple
    values: np.ndarray


@dataclasses.dataclass
class Raised:
    """An error."""

    kind: type
    text: str


def seen(x, args):
    """What is visible of a value, as nested tuples."""
    if isinstance(x, ng.Tensor):
        dims = tuple(s if n > 1 else None for n, s in zip(x.shape, x.stride())) if x.numel() else None
        same = tuple(i for i, a in enumerate(args) if isinstance(a, ng.Tensor) and a is x)
        shared = tuple(i for i, a in enumerate(args) if isinstance(a, ng.Tensor) and x.numel() and a.numel() and
                       a.untyped_storage().data_ptr() == x.untyped_storage().data_ptr())
        value = x.detach()
        if value.dtype in (ng.float16, ng.bfloat16):
            value = value.float()
        facts = (str(x.dtype).removeprefix("torch."), tuple(x.shape), dims, x.requires_grad, same, shared)
        return Look(facts, value.numpy().copy())
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, [seen(v, args) for v in x])
    if isinstance(x, dict):
        return ("dict", [(k, seen(v, args)) for k, v in x.items()])
    return ("value", type(x).__name__, repr(x))


def outcome(step, after, state, call, k):
    """What one call shows: result, what runs outside, arguments with gradients, state; or the error."""
    args = [a.tensor() if isinstance(a, Given) else a for a in call]
    ng.manual_seed(k)
    try:
        result = step(*args)
    except CaptureError:
        raise
    except Exception as e:
        return Raised(type(e), str(e))
    shown = [seen(result, args)]
    try:
        shown.append(seen(after(result, *args), args))
    except Exception as e:
        shown.append(Raised(type(e), str(e)))
    shown.append([(seen(a, []), seen(a.grad, [])) for a in args if isinstance(a, ng.Tensor)])
    shown.append([seen(v, args) for v in state()])
    shown.append(int(ng.get_rng_state().sum().item()))
    return shown


def dense(facts):
    """Whether a tensor fills its memory without gaps."""
    sizes = sorted((s, n) for n, s in zip(facts[1], facts[2] or ()) if s is not None)
    return all(s == int(np.prod([n for _, n in sizes[:i]])) for i, (s, _) in enumerate(sizes))


def differs(a, b, limits, path="result"):
    """(kind, words) of the first difference of what eager and compiled code show, or None."""
    if type(a) is not type(b):
        return "error" if Raised in (type(a), type(b)) else "structure", f"{path}: {short(a)} became {short(b)}"
    if isinstance(a, Look):
        return tensors(a, b, limits, path)
    if isinstance(a, Raised):
        return None if issubclass(b.kind, a.kind) or issubclass(a.kind, b.kind) else ("error", f"{path}: {a} became {b}")
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return "structure", f"{path}: {short(a)} became {short(b)}"
        found = (differs(x, y, limits, f"{path}[{i}]" if isinstance(a, list) else path) for i, (x, y) in enumerate(zip(a, b)))
        return next((f for f in found if f), None)
    return None if a == b else ("other", f"{path}: {a!r} became {b!r}")


def short(x):
    return repr(x)[:300]


def scale(call):
    """How large the terms of a result may be that cancel."""
    most = [np.abs(a.array[np.isfinite(a.array)]).max(initial=1.0) for a in call if isinstance(a, Given)]
    return max(most, default=1.0) ** 2


FACTS = ("dtype", "shape", "strides", "requires_grad", "identity", "memory shared with arguments")


def tensors(a, b, limits, path):
    for name, x, y in zip(FACTS, a.facts, b.facts):
        if x != y and not (name == "strides" and path.startswith("outside") and not dense(a.facts)):  # it is copied
            return name, f"{path}: {name} {x} became {y}"
    x, y = a.values, b.values
    if x.dtype.kind not in "fc":
        return None if np.array_equal(x, y) else ("values", f"{path}:\n{x}\nbecame\n{y}")
    if x.dtype.kind == "c":
        x, y = (np.stack([v.real, v.imag]) for v in (x, y))
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return "special values", f"{path}:\n{x}\nbecame\n{y}"
    p, q = x[finite], y[finite]
    if not p.size:
        return None
    with np.errstate(all="ignore"):
        limit = CLOSE[a.facts[0]] * limits[0] * np.maximum(np.abs(p), max(np.abs(p).max(), limits[1]))
        bad = ~(np.abs(p - q) <= limit)
    if bad.any():
        return "values", f"{path}: off by {np.abs(p - q).max():.3g}, allowed {limit.max():.3g}\n{x}\nbecame\n{y}"
    zeros = (p == 0) & (q == 0)
    if limits[2] and not np.array_equal(np.signbit(p[zeros]), np.signbit(q[zeros])):
        return "sign of zero", f"{path}:\n{x}\nbecame\n{y}"
    return None


def judged(subject, program, path):
    """("fine", refusals that are right) or ("found", kind, words)."""
    path.write_text(program.text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "fine", played(subject, program, path)
        except Found as e:
            return "found", e.kind, str(e)
        except Exception:
            return "found", "outside", traceback.format_exc()
        finally:
            sys.modules.pop(path.stem, None)


def played(subject, program, path):
    eager, compiled = loaded(path, subject), loaded(path, subject)
    plain, plain_state = eager.program(lambda f: f)
    step, state = compiled.program(ng.compile)
    for k, call in enumerate(program.calls):
        wanted = outcome(plain, eager.after, plain_state, call, k)
        try:
            got = outcome(step, compiled.after, state, call, k)
        except CaptureError as e:
            if not re.search(r"\.py:\d+", str(e)):
                raise Found("refusal without a line", k, str(e)) from None
            if subject.op.name not in BY_VALUE:
                raise Found("refusal", k, str(e)) from None
            return [str(e)]
        if Raised in (type(wanted), type(got)):
            found = differs(wanted, got, (1, 0, False))
        else:
            limits = program.loose, scale(call) if program.wide else max(FLOOR, program.terms), program.zeros
            parts = ("result", "outside", "arguments", "state", "random state")
            found = next((f for f in (differs(a, b, limits, p) for p, a, b in zip(parts, wanted, got)) if f), None)
        if found:
            raise Found(found[0], k, found[1])
    count = len(getattr(step, "inner", step).variants)
    if count > program.variants and not isinstance(got, Raised) and subject.op.name not in BY_VALUE:
        raise Found("variants", k, f"{count} variants, {program.variants} expected")
    return []
