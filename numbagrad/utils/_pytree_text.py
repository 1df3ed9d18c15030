"""Shapes of nests as text (JSON), and dataclasses as containers."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import warnings
from collections import OrderedDict, defaultdict, deque, namedtuple
from enum import Enum

from ..base.user_code import user_level
from . import _pytree_spec as spec
from ._pytree_spec import _LEAF_SPEC, NO_SERIALIZED_TYPE_NAME_FOUND, NOTED, GetAttrKey, TreeSpec

DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL = 1
SUPPORTED_SERIALIZED_TYPES = NOTED
SERIALIZED_TYPE_TO_PYTHON_TYPE = spec.NAMED


# --- contexts ----------------------------------------------------------------------------------------------------------------

class EnumEncoder(json.JSONEncoder):
    """JSON that has members of enumerations by their names."""

    def default(self, obj):
        if isinstance(obj, Enum):
            cls = obj.__class__
            return {"__enum__": True, "fqn": f"{cls.__module__}:{cls.__qualname__}", "name": obj.name}
        return super().default(obj)


def enum_object_hook(obj):
    """A member of an enumeration from what ``EnumEncoder`` wrote of it; anything else as it is."""
    if "__enum__" not in obj:
        return obj
    module, _, path = obj["fqn"].partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))[obj["name"]]


def _namedtuple_serialize(cls):
    known = NOTED.get(cls)
    if known is None or known.serialized_type_name == NO_SERIALIZED_TYPE_NAME_FOUND:
        why = "didn't register a" if known is None else "couldn't find a"
        raise NotImplementedError(f"Can't serialize TreeSpec of namedtuple class {cls} because we {why} "
                                  "serializated_type_name. Please register using `_register_namedtuple`.")
    return known.serialized_type_name


def _namedtuple_deserialize(name):
    if name not in spec.NAMED:
        raise NotImplementedError(f"Can't deserialize TreeSpec of namedtuple class {name} because we couldn't find a "
                                  "serializated name.")
    return spec.NAMED[name]


def _defaultdict_serialize(context):
    factory, keys = context
    return {"default_factory_module": factory.__module__, "default_factory_name": factory.__qualname__, "dict_context": keys}


def _defaultdict_deserialize(found):
    if not isinstance(found, dict):
        raise AssertionError("dumpable_context must be a dict")
    expected = {"default_factory_module", "default_factory_name", "dict_context"}
    if set(found) != expected:
        raise AssertionError(f"dumpable_context keys must be {expected}, got {set(found)}")
    module, name = found["default_factory_module"], found["default_factory_name"]
    for value, what in ((module, "module"), (name, "name")):
        if not isinstance(value, str):
            raise AssertionError(f"default_factory_{what} must be a string")
    return [getattr(importlib.import_module(module), name), found["dict_context"]]


for _cls, _name, *_contexts in (
        (tuple, "builtins.tuple"), (list, "builtins.list"), (dict, "builtins.dict"),
        (namedtuple, "collections.namedtuple", _namedtuple_serialize, _namedtuple_deserialize),
        (OrderedDict, "collections.OrderedDict"),
        (defaultdict, "collections.defaultdict", _defaultdict_serialize, _defaultdict_deserialize),
        (deque, "collections.deque")):
    spec.note(_cls, _name, *_contexts)


# --- shapes as text ----------------------------------------------------------------------------------------------------------

def _noted(treespec):
    """A shape as dicts and lists."""
    if treespec.is_leaf():
        return {"type": None, "context": None, "children_spec": []}
    if treespec.type not in NOTED:
        raise NotImplementedError(f"Serializing {treespec.type} in pytree is not registered.")
    known = NOTED[treespec.type]
    if known.serialized_type_name == NO_SERIALIZED_TYPE_NAME_FOUND:
        raise NotImplementedError(f"No registered serialization name for {treespec.type} found. Please update your "
                                  "_register_pytree_node call with a `serialized_type_name` kwarg.")
    if known.to_dumpable_context is not None:
        context = known.to_dumpable_context(treespec._context)
    else:
        try:
            context = json.dumps(treespec._context, cls=EnumEncoder)
        except TypeError as e:
            raise TypeError("Unable to serialize context. Please make the context json dump-able, or register a custom "
                            "serializer using _register_pytree_node.") from e
    return {"type": known.serialized_type_name, "context": context,
            "children_spec": [_noted(child) for child in treespec._children]}


def _read(found):
    name, context = found["type"], found["context"]
    if name is None and context is None and not found["children_spec"]:
        return _LEAF_SPEC
    if name not in spec.NAMED:
        raise NotImplementedError(f"Deserializing {name} in pytree is not registered.")
    cls = spec.NAMED[name]
    if NOTED[cls].from_dumpable_context is not None:
        context = NOTED[cls].from_dumpable_context(context)
    else:
        try:
            context = json.loads(context, object_hook=enum_object_hook)
        except TypeError as e:
            raise TypeError("Unable to deserialize context. Please make the context json load-able, or register a custom "
                            "serializer using _register_pytree_node.") from e
    return TreeSpec(cls, context, [_read(child) for child in found["children_spec"]])


def _check_protocol(protocol):
    if protocol != DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL}]")


def treespec_dumps(treespec, protocol=None):
    """A shape as text."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"Expected `treespec` to be an instance of PyTreeSpec but got item of type {type(treespec)}.")
    protocol = DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL if protocol is None else protocol
    _check_protocol(protocol)
    return json.dumps((protocol, _noted(treespec)), cls=EnumEncoder)


@functools.lru_cache
def treespec_loads(serialized):
    """The shape that ``treespec_dumps`` made text of."""
    protocol, found = json.loads(serialized)
    _check_protocol(protocol)
    return _read(found)


class _Asterisk(str):
    __slots__ = ()

    def __repr__(self):
        return "*"


def treespec_pprint(treespec):
    """A shape as its nest looks with an asterisk for each leaf."""
    return repr(treespec.unflatten([_Asterisk("*")] * treespec.num_leaves))


def pytree_to_str(treespec):
    """``treespec_dumps``, by its former name."""
    warnings.warn("`pytree_to_str` is deprecated. Please use `treespec_dumps` instead.", FutureWarning, stacklevel=user_level())
    return treespec_dumps(treespec)


def str_to_pytree(json):  # noqa: F811 (PyTorch's name)
    """``treespec_loads``, by its former name."""
    warnings.warn("`str_to_pytree` is deprecated. Please use `treespec_loads` instead.", FutureWarning, stacklevel=user_level())
    return treespec_loads(json)


# --- classes of fields -------------------------------------------------------------------------------------------------------

def _register_namedtuple(cls, *, serialized_type_name):
    """Give a class of named tuples a name in text."""
    tuples = spec.SUPPORTED_NODES[namedtuple]
    spec._private_register_pytree_node(
        cls, tuples.flatten_fn, tuples.unflatten_fn, serialized_type_name=serialized_type_name,
        to_dumpable_context=_namedtuple_serialize, from_dumpable_context=_namedtuple_deserialize,
        flatten_with_keys_fn=tuples.flatten_with_keys_fn)


def _fields(cls, field_names, dropped):
    """The names of the fields that are children."""
    if not dataclasses.is_dataclass(cls):
        if field_names is None:
            raise ValueError(f"field_names must be specified with a list of all fields used to initialize {cls}, as it is not "
                             "a dataclass.")
        return field_names
    own = [f.name for f in dataclasses.fields(cls) if f.init]
    if field_names is None:
        return own
    own, given = set(own) - set(dropped), set(field_names)
    if own != given:
        text = "field_names does not include all dataclass fields.\n"
        if own - given:
            text += (f"Missing fields in `field_names`: {own - given}. If you want to include these fields in the pytree, "
                     "please add them to `field_names`, otherwise please add them to `drop_field_names`.\n")
        if given - own:
            text += (f"Unexpected fields in `field_names`: {given - own}. Please remove these fields, or add them to "
                     "`drop_field_names`.\n")
        raise ValueError(text)
    return field_names


def register_dataclass(cls, *, field_names=None, drop_field_names=None, serialized_type_name=None):
    """Let instances of a class that is made of its fields be containers of these; None is no child."""
    names = _fields(cls, field_names, drop_field_names or [])

    def taken(obj):
        values = {name: getattr(obj, name) for name in names}
        return [v for v in values.values() if v is not None], [
            [n for n, v in values.items() if v is not None], [n for n, v in values.items() if v is None]]

    def made(values, context):
        found, missing = context
        return cls(**dict(zip(found, values, strict=True)), **dict.fromkeys(missing))

    def with_keys(obj):
        values, (found, _) = taken(obj)
        return [(GetAttrKey(n), v) for n, v in zip(found, values)], found

    spec._private_register_pytree_node(cls, taken, made, serialized_type_name=serialized_type_name,
                                       flatten_with_keys_fn=with_keys)
