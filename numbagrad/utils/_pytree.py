"""Nests of containers ("pytrees"): their leaves in order, and functions over all leaves."""

from __future__ import annotations

import functools
import types

from ._pytree_spec import (  # noqa: F401 (names of PyTorch's module)
    _LEAF_SPEC,
    BUILTIN_TYPES,
    STANDARD_DICT_TYPES,
    SUPPORTED_NODES,
    Context,
    GetAttrKey,
    LeafSpec,
    MappingKey,
    NodeDef,
    PyTree,
    PyTreeSpec,
    SequenceKey,
    TreeSpec,
    _deregister_pytree_node,
    _get_node_type,
    _private_register_pytree_node,
    _register_pytree_node,
    is_namedtuple,
    is_namedtuple_class,
    is_namedtuple_instance,
    register_pytree_node,
    tree_is_leaf,
    treespec_dict,
    treespec_leaf,
    treespec_tuple,
)
from ._pytree_text import (  # noqa: F401
    DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL,
    SERIALIZED_TYPE_TO_PYTHON_TYPE,
    SUPPORTED_SERIALIZED_TYPES,
    EnumEncoder,
    _register_namedtuple,
    enum_object_hook,
    pytree_to_str,
    register_dataclass,
    str_to_pytree,
    treespec_dumps,
    treespec_loads,
    treespec_pprint,
)

for _cls in BUILTIN_TYPES:  # under PyTorch's names: ``_dict_flatten``, ``_dict_unflatten``, ``_dict_flatten_with_keys`` ...
    for _does in ("flatten", "unflatten", "flatten_with_keys"):
        globals()[f"_{_cls.__name__.lower()}_{_does}"] = getattr(SUPPORTED_NODES[_cls], _does + "_fn")


# --- functions of nests ----------------------------------------------------------------------------------------------------

def tree_flatten(tree, is_leaf=None):
    """The leaves of a nest, and its shape."""
    leaves = []
    return leaves, _walk(tree, is_leaf, leaves)


def _walk(node, is_leaf, leaves):
    # (A function of the module: one inside of another that calls itself holds the leaves until it is collected.)
    if tree_is_leaf(node, is_leaf):
        leaves.append(node)
        return _LEAF_SPEC
    kind = _get_node_type(node)
    children, context = SUPPORTED_NODES[kind].flatten_fn(node)
    return TreeSpec(kind, context, [_walk(child, is_leaf, leaves) for child in children])


def tree_unflatten(leaves, treespec):
    """The nest of a shape with these leaves."""
    if not isinstance(treespec, TreeSpec):
        if not isinstance(leaves, TreeSpec):
            raise TypeError(f"Expected `treespec` to be an instance of PyTreeSpec but got item of type {type(treespec)}.")
        leaves, treespec = treespec, leaves
    return treespec.unflatten(leaves)


def tree_iter(tree, is_leaf=None):
    """The leaves of a nest, one by one."""
    if tree_is_leaf(tree, is_leaf):
        yield tree
        return
    for child in SUPPORTED_NODES[_get_node_type(tree)].flatten_fn(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree, is_leaf=None):
    """The leaves of a nest."""
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree, is_leaf=None):
    """The shape of a nest."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func, tree, *rests, is_leaf=None):
    """The nest of ``func`` of each leaf, and of what stands at its place in the other nests."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return spec.unflatten(map(func, leaves, *[spec.flatten_up_to(r) for r in rests]))


def tree_map_(func, tree, *rests, is_leaf=None):
    """Call ``func`` as ``tree_map`` does, for what it does to the leaves; returns the nest itself."""
    leaves, spec = tree_flatten(tree, is_leaf)
    for args in zip(leaves, *[spec.flatten_up_to(r) for r in rests]):
        func(*args)
    return tree


def map_only(type_or_types_or_pred, /):
    """A decorator: what is not of these types, or of which the function is not true, is left as it is."""
    if isinstance(type_or_types_or_pred, (type, tuple, types.UnionType)):
        def chosen(x):
            return isinstance(x, type_or_types_or_pred)
    elif callable(type_or_types_or_pred):
        chosen = type_or_types_or_pred
    else:
        raise TypeError("Argument must be a type, a tuple of types, or a callable.")

    def wrapper(func):
        @functools.wraps(func)
        def wrapped(x):
            return func(x) if chosen(x) else x
        return wrapped
    return wrapper


def tree_map_only(type_or_types_or_pred, /, func, tree, is_leaf=None):
    """``tree_map`` that leaves other leaves as they are."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(type_or_types_or_pred, /, func, tree, is_leaf=None):
    """``tree_map_`` that leaves other leaves alone."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred, tree, is_leaf=None):
    """Whether ``pred`` is true of every leaf."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred, tree, is_leaf=None):
    """Whether ``pred`` is true of a leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types, /, pred, tree, is_leaf=None):
    """Whether ``pred`` is true of every leaf of these types."""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(type_or_types, /, pred, tree, is_leaf=None):
    """Whether ``pred`` is true of a leaf of these types."""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def _broadcast_to_and_flatten(tree, treespec, is_leaf=None):
    found = []

    def spread(x, part):
        found.extend([x] * tree_structure(part, is_leaf).num_leaves)

    try:
        tree_map_(spread, tree, treespec.unflatten([0] * treespec.num_leaves), is_leaf=is_leaf)
    except ValueError:
        return None
    return found


def arg_tree_leaves(*args, **kwargs):
    """The leaves of all arguments."""
    return [leaf for a in (*args, *kwargs.values()) for leaf in tree_iter(a)]


# --- paths -----------------------------------------------------------------------------------------------------------------

def tree_flatten_with_path(tree, is_leaf=None):
    """Pairs of path and leaf, and the shape."""
    spec = tree_structure(tree, is_leaf)
    return tree_leaves_with_path(tree, is_leaf), spec


def tree_leaves_with_path(tree, is_leaf=None):
    """Pairs of path and leaf."""
    return list(_with_path((), tree, is_leaf))


def _with_path(path, tree, is_leaf):
    if tree_is_leaf(tree, is_leaf):
        yield path, tree
        return
    kind = _get_node_type(tree)
    with_keys = SUPPORTED_NODES[kind].flatten_with_keys_fn
    if not with_keys:
        raise ValueError(f"Did not find a flatten_with_keys_fn for type: {kind}. Please pass a flatten_with_keys_fn argument "
                         "to register_pytree_node.")
    for key, child in with_keys(tree)[0]:
        yield from _with_path((*path, key), child, is_leaf)


def tree_map_with_path(func, tree, *rests, is_leaf=None):
    """``tree_map`` of a function that is given each leaf's path first."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = [spec.flatten_up_to(r) for r in rests]
    return spec.unflatten([func(path, leaf, *more) for (path, leaf), *more in zip(pairs, *others)])


def keystr(kp):
    """A path as text."""
    return "".join([str(k) for k in kp])


def key_get(obj, kp):
    """What stands at a path."""
    for k in kp:
        obj = k.get(obj)
    return obj
