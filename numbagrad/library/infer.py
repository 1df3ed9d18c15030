"""The schema of an operator from the annotations of a function."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import typing
from types import GenericAlias

from ..base.device import device as Device
from ..base.dtypes import dtype
from ..core.tensor import Tensor
from ..types import Number


class Tag(enum.Enum):
    """What an operator is, for whoever wants to know."""

    core, cudagraph_unsafe, data_dependent_output, dynamic_output_shape, flexible_layout, generated = range(6)
    inplace, inplace_view, maybe_aliasing_or_mutating, needs_contiguous_strides, needs_exact_strides = range(6, 11)
    needs_fixed_stride_order, nondeterministic_bitwise, nondeterministic_seeded, out, pointwise = range(11, 16)
    pt2_compliant_tag, reduction, view_copy = range(16, 19)


def tags_of(tags):
    """One tag or several as a tuple."""
    return () if tags is None else (tags,) if isinstance(tags, Tag) else tuple(tags)


def _lists(of):
    return (typing.Sequence[of], typing.List[of], GenericAlias(collections.abc.Sequence, (of,)),  # noqa: UP006
            GenericAlias(list, (of,)))


def _parameters():
    """{annotation: type in a schema}."""
    found = {}
    for kind, name, lists, of_optional, optional_list in (
            (Tensor, "Tensor", True, True, False), (int, "SymInt", True, False, True), (float, "float", True, False, True),
            (bool, "bool", True, False, True), (str, "str", False, False, False), (Number, "Scalar", True, False, False),
            (dtype, "ScalarType", False, False, False), (Device, "Device", False, False, False)):
        found.update({kind: name, typing.Optional[kind]: f"{name}?"})  # noqa: UP045
        if lists:
            found.update(dict.fromkeys(_lists(kind), f"{name}[]"))
        if of_optional:
            found.update(dict.fromkeys(_lists(typing.Optional[kind]), f"{name}?[]"))  # noqa: UP045
        if optional_list:
            found.update({typing.Optional[x]: f"{name}[]?" for x in _lists(kind)})  # noqa: UP045
    return found


PARAMETERS = _parameters()
RETURNS = {Tensor: "Tensor", typing.List[Tensor]: "Tensor[]", list[Tensor]: "Tensor[]", int: "SymInt", float: "float",  # noqa: UP006
           bool: "bool", Number: "Scalar"}


def infer_schema(prototype_function, /, *, mutates_args, op_name=None, tags=()):
    """The schema that the annotations of a function say; ``mutates_args`` names those that it writes to, or is "unknown"."""
    return _Inference(prototype_function, mutates_args, tags_of(tags)).text(op_name)


class _Inference:
    """One function being looked at."""

    def __init__(self, fn, mutates, tags):
        self.fn, self.signature = fn, inspect.signature(fn)
        self.mutates = mutates if isinstance(mutates, str) else tuple(mutates)
        self.inplace, self.out = Tag.inplace in tags, Tag.out in tags
        if self.inplace and self.out:
            raise AssertionError("torch.Tag.inplace and torch.Tag.out are mutually exclusive")
        self.outs, self.first = {}, None  # names that are written as out= -> their aliases; the first argument by position

    def refuse(self, what):
        raise ValueError(f"infer_schema(func): {what} Got func with signature {self.signature})")

    def meant(self, annotation):
        """An annotation with what is text in it evaluated."""
        if isinstance(annotation, str):
            try:
                return eval(annotation, self.fn.__globals__)
            except NameError as e:
                self.refuse(f"Unsupported type annotation {annotation}. It is not a type. ({e}). If you are using 'from "
                            "__future__ import annotations', note that annotations are evaluated lazily as strings; make "
                            "sure all types referenced in annotations are importable at module scope, not only inside a "
                            "local function.")
            except Exception as e:
                self.refuse(f"Unsupported type annotation {annotation}. It is not a type. ({type(e).__name__}: {e})")
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is not None and any([isinstance(a, str) for a in inner]):
            return GenericAlias(origin, tuple(map(self.meant, inner)))
        return annotation

    def text(self, op_name):
        parts, star = [], False
        for i, p in enumerate(self.signature.parameters.values()):
            if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                self.refuse("We do not support positional-only args, varargs, or varkwargs.")
            if p.kind is p.KEYWORD_ONLY and not star:
                parts.append("*")
                star = True
            parts.append(self.parameter(i, p))
        if self.mutates != "unknown":
            unseen = set(self.mutates) - set(self.signature.parameters)
            if unseen:
                self.refuse(f"{unseen} in mutates_args were not found in the custom op's signature. mutates_args should "
                            "contain the names of all args that the custom op mutates, or just the string 'unknown' if you "
                            "don't know.")
        if self.inplace:
            self.check_inplace()
        if self.out and not self.outs:
            self.refuse("torch.Tag.out requires at least one mutable keyword-only Tensor argument.")
        return f"{op_name or ''}({', '.join(parts)}) -> {self.results()}"

    def parameter(self, i, p):
        if p.annotation is p.empty:
            self.refuse(f"Parameter {p.name} must have a type annotation.")
        annotation = self.meant(p.annotation)
        kind = PARAMETERS.get(annotation) if _hashable(annotation) else None
        if kind is None:
            self.refuse(self.unsupported(p, annotation))
        if self.first is None and p.kind is p.POSITIONAL_OR_KEYWORD:
            self.first = p.name, kind, f"a{i}"
        if isinstance(self.mutates, str):
            if self.mutates != "unknown":
                raise ValueError("mutates_args must either be a sequence of the names of the arguments that are mutated or the "
                                 "string 'unknown'. ")
            written = kind.startswith("Tensor")
        else:
            written = p.name in self.mutates
            if written and not kind.startswith("Tensor"):
                self.refuse(f"Parameter {p.name} is in mutable_args but only Tensors or collections of Tensors can be mutated")
        if written:
            if self.out:
                if p.kind is not p.KEYWORD_ONLY:
                    self.refuse("torch.Tag.out requires mutable arguments to be keyword-only.")
                if kind != "Tensor":
                    self.refuse("torch.Tag.out only supports mutable keyword-only Tensor arguments.")
                self.outs[p.name] = f"a{i}"
            kind = f"Tensor(a{i}!){kind[6:]}"
        return f"{kind} {p.name}" if p.default is p.empty else f"{kind} {p.name}={self.default(p)}"

    def unsupported(self, p, annotation):
        valid = f"The valid types are: {PARAMETERS.keys()}."
        if typing.get_origin(annotation) is not tuple:
            return f"Parameter {p.name} has unsupported type {p.annotation}. {valid}"
        inner = typing.get_args(annotation)
        inner = inner[:1] if len(inner) == 2 and inner[1] is Ellipsis else inner
        instead = list[typing.Union[inner]] if inner else list  # noqa: UP007
        example = f"For example, {instead}.\n\n" if instead in PARAMETERS else "\n\n"
        return (f"Parameter {p.name} has unsupported type {p.annotation}. We do not support Tuple inputs in schema. As a "
                f"workaround, please try to use List instead. {example}{valid}")

    def default(self, p):
        value = p.default
        if value is None or isinstance(value, (int, float)):
            return str(value)
        if isinstance(value, (str, Device)):
            return f'"{value}"'
        if isinstance(value, dtype):
            return str(value).removeprefix("torch.")
        self.refuse(f"Parameter {p.name} has an unsupported default value type {type(value)}. Please file an issue on GitHub "
                    "so we can prioritize this.")

    def check_inplace(self):
        if self.first is None:
            self.refuse("torch.Tag.inplace requires a positional Tensor argument.")
        if self.first[1] != "Tensor":
            self.refuse("torch.Tag.inplace requires the first positional argument to be a Tensor.")
        if isinstance(self.mutates, str) or set(self.mutates) != {self.first[0]}:
            self.refuse("torch.Tag.inplace requires mutates_args to contain exactly the first positional argument, got "
                        f"{self.mutates}.")

    def results(self):
        annotation = self.meant(self.signature.return_annotation)
        if self.out:
            tensors = (Tensor,) * len(self.outs)
            if annotation is not Tensor if len(tensors) == 1 else (
                    typing.get_origin(annotation) is not tuple or typing.get_args(annotation) != tensors):
                self.refuse("torch.Tag.out requires the return annotation to match the mutable keyword-only Tensor arguments "
                            f"{tuple(self.outs)}.")
            texts = [f"Tensor({alias}!)" for alias in self.outs.values()]
            return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
        if annotation is None:
            return "()"
        if annotation is inspect.Parameter.empty:
            self.refuse("No return type annotation was provided. Please add one.")
        several = typing.get_origin(annotation) is tuple
        kinds = typing.get_args(annotation) if several else (annotation,)
        if not all([_hashable(k) and k in RETURNS for k in kinds]):
            self.refuse(f"Return has unsupported type {annotation}. The valid types are: {RETURNS}.")
        text = ", ".join([RETURNS[k] for k in kinds])
        if self.inplace:
            if text != "Tensor" or several:
                self.refuse("torch.Tag.inplace requires the return annotation to be torch.Tensor.")
            return f"Tensor({self.first[2]}!)"
        return text if not several else f"(({text}))" if len(kinds) == 1 else f"({text})"


def _hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True
