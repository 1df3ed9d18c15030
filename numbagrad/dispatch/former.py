"""Numbers before tensors, as in PyTorch before 1.5 (``p.add_(-lr, g)``): old programs call so, and it takes it with a warning.

The functions have parameters more, behind those that come by their place, where a default costs a call nothing. ``add`` finds
by the test that it makes anyway whether one of them was given: ``alpha`` and ``former_`` have one default."""

from __future__ import annotations

import inspect
import numbers

from ..base.user_code import warn_once
from ..core.registry import REGISTRY
from ..core.tensor import Tensor

SCALED, VALUED = frozenset({"add", "sub"}), frozenset({"addcmul", "addcdiv"})
PRODUCTS = frozenset({"addmm", "addmv", "addr", "baddbmm", "addbmm"})


def signature(op, params):
    """The signature of a public function with what stands for the arguments of the former order."""
    more = [("former_", op.keywords["alpha"][0])] if op.name in SCALED else [
        ("former_", None), ("later_", None)] if op.name in PRODUCTS else []
    if not more:
        return params
    placed = [p for p in params.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    new = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default) for n, default in more]
    return params.replace(parameters=[*placed, *new, *[p for p in params.parameters.values() if p.kind is p.KEYWORD_ONLY]])


def lines(op, params, suffix=""):
    """Lines at the head of a function that see the former order, and what they need."""
    placed = [p.name for p in params.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    keywords = ", ".join([f"{p.name}={p.name}" for p in params.parameters.values() if p.kind is p.KEYWORD_ONLY])
    call = f"former__({op.name + suffix!r}, ({', '.join(placed)}{{}}), {keywords})"
    env = {"former__": in_order, "Tensor_": Tensor}
    if op.name in SCALED:
        return [], {**env, "FORMER_": op.keywords["alpha"][0]}
    if op.name in VALUED:
        env.update(VALUE_=params.parameters["value"].default, float_=float, has_number_=_has_number)
        return ["    if value is not VALUE_ and value.__class__ is not float_ and has_number_(value, tensor1):",
                "        return " + call.format("")], env
    if op.name in PRODUCTS:
        return ["    if former_ is not None:", "        return " + call.format(", former_, later_")], env
    return [], {}


def keyword(op, name, suffix="", keywords=""):
    """Lines that begin what a function does with another value of a keyword than the default."""
    if op.name not in SCALED:
        return [f"if {name} is not DEFAULT_{name}_:"]
    placed = ", ".join([*op.signature.parameters, "former_"])
    return ["if alpha is not former_:", "    if former_ is not FORMER_:",
            f"        return former__({op.name + suffix!r}, ({placed}), alpha=alpha{keywords})"]


def in_order(name, args, alpha=1, beta=1, out=None):
    """The call with its numbers as keywords; TypeError where they are too many arguments, and no former order."""
    base = name.rstrip("_")
    placed = [p.name for p in REGISTRY[base].call_signature().parameters.values() if p.kind is not p.KEYWORD_ONLY][:3]
    expected = 2 if base in SCALED else 3
    args = args[:-1] if base in PRODUCTS and args[-1] is None else args
    orders = ((1,),) if base not in PRODUCTS else ((1,), (1, 2)) if name != base else ((0,), (0, 2), (1,), (1, 2))
    given = alpha.__class__ is not int or alpha != 1 or beta.__class__ is not int or beta != 1
    at = None if given else next((o for o in orders if len(args) == expected + len(o) and _fits(args, o)), None)
    if at is None:
        raise TypeError(f"{name}() takes {expected} positional arguments but {len(args)} were given")
    tensors = [x for i, x in enumerate(args) if i not in at]
    words = dict(zip(("alpha",) if base in SCALED else ("value",) if base in VALUED else ("beta", "alpha"),
                     [args[i] for i in at]))
    _warn(name, placed, words, at)
    if name != base:
        return getattr(Tensor, name)(*tensors, **words)
    return REGISTRY[base].callable(*tensors, **words, out=out)


def _fits(args, at):
    # (``other`` of add and sub, the third of three, may be a number, too.)
    return all(_is_number(x) if i in at else isinstance(x, Tensor) or i == 2 == len(args) - 1 and _is_number(x)
               for i, x in enumerate(args))


def _is_number(x):
    return isinstance(x, numbers.Number) or isinstance(x, Tensor) and not x._shape


def _has_number(value, first):
    """Whether a tensor stands where ``value`` is a number, and a number where the first factor is."""
    return isinstance(value, Tensor) and _is_number(first) and (not isinstance(first, Tensor) or bool(value._shape))


def _warn(name, placed, words, at):
    tensors, inplace = [f"Tensor {p}" for p in placed], name.endswith("_")
    old = list(tensors)
    for i, word in zip(at, words):
        old.insert(i, f"Number {word}")
    keywords = [f"Number {w} = 1" for w in (("beta", "alpha") if "beta" in words else words)]
    if inplace:
        old.remove(tensors[0])
        tensors = tensors[1:]
    tail = [] if inplace else ["Tensor out = None"]
    parts = [", ".join([*old, *(["*", *tail] if tail else [])]), ", ".join([*tensors, "*", *keywords, *tail])]
    if name == "addmm":
        parts.append(", ".join([*tensors, "torch.dtype out_dtype", "*", *keywords, *tail]))
    new = "".join([f"\n\t{name}({p})" for p in parts[1:]])
    warn_once(f"This overload of {name} is deprecated:\n\t{name}({parts[0]})\nConsider using one of the following "
              f"signatures instead:{new}", "This overload")
