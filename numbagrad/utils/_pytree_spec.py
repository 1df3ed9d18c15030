"""The classes that are containers of nests ("pytrees"), and the shapes of nests."""

from __future__ import annotations

import dataclasses
import threading
import typing
import warnings
from collections import OrderedDict, defaultdict, deque, namedtuple

from ..base.user_code import user_level
from ..func import trees

PyTree = typing.Any
Context = typing.Any


class NodeDef(typing.NamedTuple):
    """What a class of containers was registered with."""

    type: type
    flatten_fn: typing.Callable
    unflatten_fn: typing.Callable
    flatten_with_keys_fn: typing.Callable | None


class _SerializeNodeDef(typing.NamedTuple):
    """What a class of containers was registered with for shapes as text."""

    typ: type
    serialized_type_name: str
    to_dumpable_context: typing.Callable | None
    from_dumpable_context: typing.Callable | None


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceKey:
    """A step of a path: into a sequence."""

    idx: int

    def __str__(self):
        return f"[{self.idx!r}]"

    def get(self, sequence):
        return sequence[self.idx]


@dataclasses.dataclass(frozen=True, slots=True)
class MappingKey:
    """A step of a path: into a mapping."""

    key: typing.Any

    def __str__(self):
        return f"[{self.key!r}]"

    def get(self, mapping):
        return mapping[self.key]


@dataclasses.dataclass(frozen=True, slots=True)
class GetAttrKey:
    """A step of a path: to an attribute."""

    name: str

    def __str__(self):
        return f".{self.name}"

    def get(self, obj):
        return getattr(obj, self.name)


# --- the classes that are containers ---------------------------------------------------------------------------------------

SUPPORTED_NODES = {}
NO_SERIALIZED_TYPE_NAME_FOUND = "NO_SERIALIZED_TYPE_NAME_FOUND"
NOTED, NAMED = {}, {}  # {class: how its shape becomes text}, {name in text: class}
_lock = threading.RLock()


def _positions(values):
    return [(SequenceKey(i), v) for i, v in enumerate(values)]


def _pairs(mapping):
    return [(MappingKey(k), v) for k, v in mapping.items()]


def _register(cls, flatten_fn, unflatten_fn, with_keys):
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, with_keys)


def note(cls, name, to_context=None, from_context=None):
    """Let a class have a name in shapes as text."""
    name = NO_SERIALIZED_TYPE_NAME_FOUND if name is None else name
    NOTED[cls], NAMED[name] = _SerializeNodeDef(cls, name, to_context, from_context), cls


_register(tuple, lambda d: (list(d), None), lambda values, _: tuple(values), lambda d: (_positions(d), None))
_register(list, lambda d: (d, None), lambda values, _: list(values), lambda d: (_positions(d), None))
_register(dict, lambda d: (list(d.values()), list(d)), lambda values, keys: dict(zip(keys, values)),
          lambda d: (_pairs(d), list(d)))
_register(OrderedDict, lambda d: (list(d.values()), list(d)), lambda values, keys: OrderedDict(zip(keys, values)),
          lambda d: (_pairs(d), list(d)))
_register(defaultdict, lambda d: (list(d.values()), [d.default_factory, list(d)]),
          lambda values, context: defaultdict(context[0], zip(context[1], values)),
          lambda d: (_pairs(d), [d.default_factory, list(d)]))
_register(deque, lambda d: (list(d), d.maxlen), lambda values, maxlen: deque(values, maxlen=maxlen),
          lambda d: (_positions(d), d.maxlen))
_register(namedtuple, lambda d: (list(d), type(d)), lambda values, cls: cls(*values),
          lambda d: ([(GetAttrKey(name), v) for name, v in zip(type(d)._fields, d)], type(d)))
BUILTIN_TYPES = frozenset(SUPPORTED_NODES)
STANDARD_DICT_TYPES = frozenset({dict, OrderedDict, defaultdict})


def register_pytree_node(cls, flatten_fn, unflatten_fn, *, serialized_type_name=None, to_dumpable_context=None,
                         from_dumpable_context=None, flatten_with_keys_fn=None):
    """Let instances of a class be containers: ``flatten_fn(x)`` is (children, context), ``unflatten_fn`` makes one of them."""
    with _lock:
        if cls in SUPPORTED_NODES:
            raise ValueError(f"{cls} is already registered as pytree node.")
        _private_register_pytree_node(
            cls, flatten_fn, unflatten_fn, serialized_type_name=serialized_type_name, to_dumpable_context=to_dumpable_context,
            from_dumpable_context=from_dumpable_context, flatten_with_keys_fn=flatten_with_keys_fn)


def _private_register_pytree_node(cls, flatten_fn, unflatten_fn, *, serialized_type_name=None, to_dumpable_context=None,
                                  from_dumpable_context=None, flatten_with_keys_fn=None):
    with _lock:
        if cls in SUPPORTED_NODES:
            warnings.warn(f"{cls} is already registered as pytree node. Overwriting the previous registration.",
                          stacklevel=user_level())
        _register(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
        trees.REGISTERED[cls] = flatten_fn, unflatten_fn
        if (to_dumpable_context is None) != (from_dumpable_context is None):
            raise ValueError(f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or registered.")
        note(cls, serialized_type_name, to_dumpable_context, from_dumpable_context)


def _register_pytree_node(cls, flatten_fn, unflatten_fn, to_str_fn=None, maybe_from_str_fn=None, *, serialized_type_name=None,
                          to_dumpable_context=None, from_dumpable_context=None, flatten_with_keys_fn=None):
    warnings.warn("`torch.utils._pytree._register_pytree_node` is deprecated. Please use "
                  "`torch.utils._pytree.register_pytree_node` instead.", FutureWarning, stacklevel=user_level())
    if to_str_fn is not None or maybe_from_str_fn is not None:
        warnings.warn("`to_str_fn` and `maybe_from_str_fn` is deprecated. Please use `to_dumpable_context` and "
                      "`from_dumpable_context` instead.", FutureWarning, stacklevel=user_level())
    _private_register_pytree_node(
        cls, flatten_fn, unflatten_fn, serialized_type_name=serialized_type_name, to_dumpable_context=to_dumpable_context,
        from_dumpable_context=from_dumpable_context, flatten_with_keys_fn=flatten_with_keys_fn)


def _deregister_pytree_node(cls):
    with _lock:
        del SUPPORTED_NODES[cls]
        trees.REGISTERED.pop(cls, None)
        NAMED.pop(NOTED.pop(cls).serialized_type_name, None)


def is_namedtuple(obj):
    """Whether an object, or a class, is of the kind that ``collections.namedtuple`` makes."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_namedtuple_class(cls):
    """Whether a class is one that ``collections.namedtuple`` makes, or below one."""
    return (isinstance(cls, type) and issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)
            and all(type(field) is str for field in cls._fields)
            and callable(getattr(cls, "_make", None)) and callable(getattr(cls, "_asdict", None)))


def is_namedtuple_instance(obj):
    """Whether an object is a named tuple."""
    return is_namedtuple_class(type(obj))


def _get_node_type(tree):
    cls = type(tree)
    return namedtuple if cls is not tuple and is_namedtuple_class(cls) else cls


def tree_is_leaf(tree, is_leaf=None):
    """Whether a value is no container, or ``is_leaf`` says that it counts as none."""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


# --- shapes ----------------------------------------------------------------------------------------------------------------

class TreeSpec:
    """The shape of a nest."""

    __slots__ = ("type", "_context", "_children", "num_nodes", "num_leaves", "num_children")

    def __init__(self, type, context, children_specs):  # noqa: A002 (PyTorch's name)
        nodes = 1 + sum([c.num_nodes for c in children_specs])
        leaves = sum([c.num_leaves for c in children_specs]) if type is not None else 1
        for name, value in zip(TreeSpec.__slots__, (type, context, children_specs, nodes, leaves, len(children_specs))):
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __reduce__(self):
        return (LeafSpec, ()) if self.type is None else (TreeSpec, (self.type, self._context, self._children))

    def __repr__(self, indent=0):
        space = ",\n" + " " * (indent + 2)
        inside = space.join([c.__repr__(indent + 2) for c in self._children])
        return f"TreeSpec({self.type.__name__}, {self._context}, [{inside}])"

    def __eq__(self, other):
        if self is other:
            return True
        if other.__class__ is not self.__class__:
            return NotImplemented
        return str(self.type) == str(other.type) and self._context == other._context and self._children == other._children

    def __hash__(self):
        context = self._context
        if self.type is defaultdict:
            context = context[0], tuple(context[1])
        elif self.type in (dict, OrderedDict):
            context = tuple(context)
        elif self.type is not None and self.type not in BUILTIN_TYPES:
            context = None  # one of the user's, which need not have a hash
        return hash((self.type, context, tuple(self._children)))

    @property
    def context(self):
        return self._context

    @property
    def children_specs(self):
        warnings.warn("`treespec.children_specs` is deprecated. Use `treespec.child(index)` to access a single child, or "
                      "`treespec.children()` to get all children.", FutureWarning, stacklevel=user_level())
        return self._children

    def is_leaf(self):
        """Whether this is the shape of a leaf."""
        return self.num_nodes == 1 and self.num_leaves == 1

    def children(self):
        """The shapes of the children."""
        return self._children.copy()

    def child(self, index):
        """The shape of one child."""
        return self._children[index]

    def flatten_up_to(self, tree):
        """The parts of ``tree`` that stand where this shape has leaves."""
        parts = []
        _up_to(self, tree, parts)
        return parts

    def unflatten(self, leaves):
        """The nest of this shape with these leaves."""
        if not isinstance(leaves, (list, tuple)):
            leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree "
                             f"that holds {self.num_leaves} items ({self}).")
        return _build(self, iter(leaves))


class LeafSpec(TreeSpec):
    """The shape of a leaf."""

    __slots__ = ()

    def __new__(cls):
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, `isinstance(treespec, LeafSpec)` is deprecated, use "
                      "`isinstance(treespec, TreeSpec) and treespec.is_leaf()` instead.",
                      FutureWarning, stacklevel=user_level())
        return object.__new__(cls)

    def __init__(self):
        super().__init__(None, None, [])

    def __reduce__(self):
        return treespec_leaf, ()

    def __repr__(self, indent=0):
        return "*"


PyTreeSpec = TreeSpec
_LEAF_SPEC = object.__new__(LeafSpec)
_LEAF_SPEC.__init__()


def treespec_leaf():
    """The shape of a leaf."""
    return _LEAF_SPEC


def treespec_tuple(iterable=(), /):
    """The shape of a tuple of nests of these shapes."""
    children = list(iterable)
    if any(not isinstance(child, TreeSpec) for child in children):
        raise ValueError(f"Expected a tuple of TreeSpec values, got: {children!r}.")
    return TreeSpec(tuple, None, children)


def treespec_dict(mapping=(), /, **kwargs):
    """The shape of a dict of nests of these shapes."""
    found = dict(mapping, **kwargs)
    if any(not isinstance(child, TreeSpec) for child in found.values()):
        raise ValueError(f"Expected a dictionary of TreeSpec values, got: {found!r}.")
    return TreeSpec(dict, list(found), list(found.values()))


def _build(spec, leaves):
    if spec.type is None:
        return next(leaves)
    return SUPPORTED_NODES[spec.type].unflatten_fn([_build(c, leaves) for c in spec._children], spec._context)


def _up_to(spec, node, parts):
    if spec.is_leaf():
        parts.append(node)
        return
    for part, child in zip(_children_like(spec, node), spec._children, strict=True):
        _up_to(child, part, parts)


def _children_like(spec, node):
    """The children of a node in the order of a shape; ValueError where the two do not fit."""
    found, kind = _get_node_type(node), spec.type
    own = kind not in BUILTIN_TYPES
    dicts = kind in STANDARD_DICT_TYPES and found in STANDARD_DICT_TYPES
    if found != kind and not dicts:
        raise ValueError(f"{'Type' if own else 'Node type'} mismatch; expected {kind!r}, but got {found!r}.")
    if own:
        children, context = SUPPORTED_NODES[found].flatten_fn(node)
        _check_arity(spec, len(children))
        if context != spec._context:
            raise ValueError(f"Node context mismatch for custom node type {kind!r}.")
        return children
    _check_arity(spec, len(node))
    if dicts:
        keys = spec._context[1] if kind is defaultdict else spec._context
        _check_keys(set(keys), set(node))
        return [node[key] for key in keys]
    children, context = SUPPORTED_NODES[found].flatten_fn(node)
    if found is not deque and context != spec._context:
        raise ValueError(f"Node context mismatch for node type {kind!r}; expected {spec._context!r}, but got {context!r}.")
    return children


def _check_arity(spec, count):
    if count != spec.num_children:
        raise ValueError(f"Node arity mismatch; expected {spec.num_children}, but got {count}.")


def _check_keys(expected, found):
    if expected != found:
        missing, extra = expected - found, found - expected
        text = (f"; missing key(s): {missing}" if missing else "") + (f"; extra key(s): {extra}" if extra else "")
        raise ValueError(f"Node keys mismatch{text}.")
