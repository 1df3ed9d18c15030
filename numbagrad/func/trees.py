"""Nested arguments: tuples, lists, dicts and named tuples of leaves, and the shape of such a nest."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque


class Spec:
    """The shape of a nest: how to build it of its leaves. ``kind`` is None for a leaf."""

    __slots__ = ("kind", "keys", "children", "count", "more")

    def __init__(self, kind, keys, children, more=None):
        self.kind, self.keys, self.children, self.more = kind, keys, children, more
        self.count = 1 if kind is None else sum([c.count for c in children])

    def __eq__(self, other):
        return isinstance(other, Spec) and self.kind is other.kind and len(self.children) == len(other.children) and (
            set(self.keys or ()) == set(other.keys or ())) and self.children == other.children

    __hash__ = None

    def __repr__(self, indent=0):
        if self.kind is None:
            return "*"
        space = ",\n" + " " * (indent + 2)
        inside = space.join([c.__repr__(indent + 2) for c in self.children])
        return f"TreeSpec({self.kind.__name__}, {self.keys and list(self.keys)}, [{inside}])"


LEAF = Spec(None, None, ())
# Classes of users: their functions (flatten, unflatten), as ``utils._pytree.register_pytree_node`` was given them.
REGISTERED = {}


def text(spec):
    """The shape of a nest as it would be written."""
    if spec.kind is None:
        return "*"
    inside = [text(c) for c in spec.children]
    if spec.keys is not None:
        return "{" + ", ".join([f"{k!r}: {c}" for k, c in zip(spec.keys, inside)]) + "}"
    if spec.kind is list:
        return f"[{', '.join(inside)}]"
    if spec.kind is tuple:
        return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"
    return f"{spec.kind.__name__}({', '.join(inside)})"


def is_named(x):
    """Whether a value is a named tuple."""
    return isinstance(x, tuple) and hasattr(x, "_fields")


def flatten(tree):
    """(leaves, spec)."""
    leaves = []
    return leaves, _walk(tree, leaves)


def _walk(x, leaves):
    # (A function of the module: one inside of another that calls itself holds the leaves until it is collected.)
    c = type(x)
    if c in (tuple, list, deque):
        return Spec(c, None, [_walk(v, leaves) for v in x], x.maxlen if c is deque else None)
    if c in (dict, OrderedDict, defaultdict):
        return Spec(c, tuple(x), [_walk(v, leaves) for v in x.values()], x.default_factory if c is defaultdict else None)
    if is_named(x):
        return Spec(c, None, [_walk(v, leaves) for v in x])
    if REGISTERED and c in REGISTERED:
        children, context = REGISTERED[c][0](x)
        return Spec(c, None, [_walk(v, leaves) for v in children], context)
    leaves.append(x)
    return LEAF


def unflatten(leaves, spec):
    """The nest of that shape with these leaves."""
    return _build(spec, iter(leaves))


def _build(spec, leaves):
    if spec.kind is None:
        return next(leaves)
    inside = [_build(c, leaves) for c in spec.children]
    if spec.keys is not None:
        pairs = zip(spec.keys, inside)
        return defaultdict(spec.more, pairs) if spec.kind is defaultdict else spec.kind(pairs)
    if spec.kind is deque:
        return deque(inside, spec.more)
    if spec.kind in REGISTERED:
        return REGISTERED[spec.kind][1](inside, spec.more)
    return spec.kind(inside) if spec.kind in (tuple, list) else spec.kind(*inside)


def leaves_of(tree):
    return flatten(tree)[0]


def map_tree(fn, tree):
    """The nest with ``fn`` of each leaf."""
    leaves, spec = flatten(tree)
    return unflatten([fn(x) for x in leaves], spec)


def spread(prefix, spec):
    """The leaves of ``prefix``, a nest whose leaves may stand for whole nests of ``spec``: one for each of its leaves; None
    where the two do not fit."""
    if spec.kind is None:
        return [prefix] if flatten(prefix)[1].kind is None else None
    found = flatten(prefix)[1]
    if found.kind is None:
        return [prefix] * spec.count
    if found.kind is not spec.kind or len(found.children) != len(spec.children):
        return None
    if found.keys is not None:
        if set(found.keys) != set(spec.keys):
            return None
        parts = [prefix[k] for k in spec.keys]
    else:
        parts = REGISTERED[found.kind][0](prefix)[0] if found.kind in REGISTERED else list(prefix)
    out = []
    for part, child in zip(parts, spec.children):
        inside = spread(part, child)
        if inside is None:
            return None
        out += inside
    return out
