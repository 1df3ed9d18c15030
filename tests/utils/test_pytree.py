"""``torch.utils._pytree``: nests taken apart and put together as PyTorch does, beside PyTorch."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import pickle
import warnings

import pytest

import numbagrad as ng
from numbagrad.utils import _pytree as ours

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
from torch.utils import _pytree as theirs  # noqa: E402

Point = collections.namedtuple("Point", "x y")
TREES = [
    1, None, (), [], {}, [1, (2, 3)], {"b": 1, "a": [2, {}]}, Point(1, [2, 3]), collections.OrderedDict(z=1, a=(2,)),
    collections.defaultdict(list, k=[1], j=2), collections.deque([1, (2, 3)], maxlen=4), [{"a": Point((1,), None)}, "text"],
    {"x": [1, 2], "y": {"z": (3, 4), "w": 5}}]
PARTS = [7, [7, 8], [5, (6, 7)], {"a": [1, {}], "b": 2}, {"b": 1}, {"b": 1, "c": 2}, Point(0, [[1], [2]]), (0, [1, 2]),
         collections.OrderedDict(a=[8, {}], b=9), collections.deque([0, (1, 2)])]


def outcome(call, *args):
    try:
        return "value", call(*args)
    except Exception as e:
        return type(e), str(e)


def pair(a, b):
    return a, b


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_taken_apart_and_put_together(tree):
    leaves, spec = ours.tree_flatten(tree)
    expected, want = theirs.tree_flatten(tree)
    assert leaves == expected and repr(spec) == repr(want) and spec.context == want.context
    assert (spec.num_nodes, spec.num_leaves, spec.num_children, spec.is_leaf()) == (
        want.num_nodes, want.num_leaves, want.num_children, want.is_leaf())
    again = ours.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree) and ours.tree_unflatten(spec, leaves) == tree
    assert outcome(lambda: spec.unflatten(leaves + [1])) == outcome(lambda: want.unflatten(expected + [1]))
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec and hash(copy.deepcopy(spec)) == hash(spec)
    paths, want_paths = ours.tree_flatten_with_path(tree)[0], theirs.tree_flatten_with_path(tree)[0]
    assert [(ours.keystr(p), v, ours.key_get(tree, p)) for p, v in paths] == [(theirs.keystr(p), v, v) for p, v in want_paths]
    assert repr([p for p, _ in paths]) == repr([p for p, _ in want_paths])
    assert list(ours.tree_iter(tree)) == ours.tree_leaves(tree) == ours.arg_tree_leaves(tree) == expected


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_another_nest_beside_a_first(tree):
    for other in PARTS:
        for name in ("tree_map", "tree_map_"):
            assert outcome(getattr(ours, name), pair, tree, other) == outcome(getattr(theirs, name), pair, tree, other), other
        assert ours._broadcast_to_and_flatten(other, ours.tree_structure(tree)) == theirs._broadcast_to_and_flatten(
            other, theirs.tree_structure(tree))
        assert (ours.tree_structure(tree) == ours.tree_structure(other)) == (
            theirs.tree_structure(tree) == theirs.tree_structure(other))


def test_choices_among_leaves():
    tree = {"a": [1, 2.0, "x"], "b": (3, None)}
    for of in (ours, theirs):
        assert of.tree_map_only(int, lambda x: x + 1, tree) == {"a": [2, 2.0, "x"], "b": (4, None)}
        assert of.tree_map_only((int, float), lambda x: -x, tree) == {"a": [-1, -2.0, "x"], "b": (-3, None)}
        assert of.tree_map_only(int | str, lambda x: 0, tree) == {"a": [0, 2.0, 0], "b": (0, None)}
        assert of.tree_map_only(lambda x: x is None, lambda x: 5, tree) == {"a": [1, 2.0, "x"], "b": (3, 5)}
        assert of.tree_all_only(int, lambda x: x > 0, tree) and not of.tree_any_only(int, lambda x: x > 3, tree)
        assert of.tree_any(lambda x: x is None, tree) and not of.tree_all(lambda x: x, tree)
        assert of.tree_leaves(tree, is_leaf=lambda x: isinstance(x, tuple)) == [1, 2.0, "x", (3, None)]
        assert of.tree_map_with_path(lambda *a: (str(a[0][-1]), *a[1:]), [1, (2,)], [3, (4,)]) == [
            ("[0]", 1, 3), (("[0]", 2, 4),)]
        assert of.is_namedtuple(Point) and of.is_namedtuple_instance(Point(1, 2)) and not of.is_namedtuple((1,))
    assert outcome(lambda: ours.map_only(3)) == outcome(lambda: theirs.map_only(3))
    assert outcome(lambda: ours.tree_unflatten([1], 2)) == outcome(lambda: theirs.tree_unflatten([1], 2))
    leaf = ours.treespec_leaf()
    assert repr(ours.treespec_dict(a=ours.treespec_tuple([leaf, leaf]))) == repr(
        theirs.treespec_dict(a=theirs.treespec_tuple([theirs.treespec_leaf()] * 2)))
    assert outcome(lambda: ours.treespec_tuple([1])) == outcome(lambda: theirs.treespec_tuple([1]))
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'type'"):
        leaf.type = 3


class Box:
    def __init__(self, inside, label):
        self.inside, self.label = inside, label

    def __eq__(self, other):
        return (self.inside, self.label) == (other.inside, other.label)

    __hash__ = None


def _apart(box):
    return list(box.inside), box.label


def _together(values, label):
    return Box(list(values), label)


@pytest.fixture
def box():
    for of in (ours, theirs):
        of.register_pytree_node(Box, _apart, _together)
    yield
    for of in (ours, theirs):
        of._deregister_pytree_node(Box)


def test_own_containers(box):
    tree = [Box([1, (2,)], "label"), 3]
    for of in (ours, theirs):
        leaves, spec = of.tree_flatten(tree)
        assert leaves == [1, 2, 3] and of.tree_unflatten(leaves, spec) == tree
    for other in ([Box([1, 2], "label"), 3], [Box([1, 2], "other"), 3], [Box([1], "label"), 3], [[1, 2], 3]):
        assert outcome(ours.tree_map, pair, tree, other) == outcome(theirs.tree_map, pair, tree, other)
    assert outcome(lambda: ours.tree_leaves_with_path(tree)) == outcome(lambda: theirs.tree_leaves_with_path(tree))
    assert outcome(lambda: ours.register_pytree_node(Box, _apart, _together)) == outcome(
        lambda: theirs.register_pytree_node(Box, _apart, _together))
    for of in (ours, theirs):
        with pytest.warns(UserWarning, match="already registered as pytree node. Overwriting"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            of._register_pytree_node(Box, _apart, _together)


def test_own_containers_are_nests_to_transforms(box):
    def f(b):
        return Box([b.inside[0] * 2, b.inside[1].sum()], b.label)

    for lib in (ng, torch):
        out = lib.vmap(f, in_dims=(Box([0, 1], "l"),))(Box([lib.arange(3.0), lib.ones(2, 3)], "l"))
        assert out.label == "l" and out.inside[0].tolist() == [0, 2, 4] and out.inside[1].tolist() == [2, 2, 2]
        grad = lib.func.grad(lambda b: (b.inside[0] ** 2).sum() + b.inside[1])(Box([lib.arange(3.0), lib.tensor(1.0)], "l"))
        assert grad.inside[0].tolist() == [0, 2, 4] and grad.inside[1].item() == 1 and grad.label == "l"


class Shade(enum.Enum):
    DARK = 1


def test_shapes_as_text():
    for tree in [t for t in TREES if "Point" not in repr(t)]:
        spec, want = ours.tree_structure(tree), theirs.tree_structure(tree)
        text = ours.treespec_dumps(spec)
        assert text == theirs.treespec_dumps(want) and ours.treespec_loads(text) == spec
        assert ours.treespec_pprint(spec) == theirs.treespec_pprint(want)
        with pytest.warns(FutureWarning, match="`pytree_to_str` is deprecated"):
            assert ours.pytree_to_str(spec) == text
        with pytest.warns(FutureWarning, match="`str_to_pytree` is deprecated"):
            assert ours.str_to_pytree(text) == spec


def test_what_has_no_text_is_refused():
    other = collections.namedtuple("other", "a")

    class Unnamed:
        pass
    for lib in (ours, theirs):
        lib.register_pytree_node(Unnamed, lambda x: ([1], None), lambda values, context: Unnamed())
    try:
        for call in (lambda lib: lib.treespec_dumps(lib.tree_structure(other(1))),
                     lambda lib: lib.treespec_dumps(lib.tree_structure(Unnamed())),
                     lambda lib: lib.treespec_dumps(lib.tree_structure({frozenset(): 3})),
                     lambda lib: lib.treespec_dumps(lib.tree_structure(1), 7),
                     lambda lib: lib.treespec_loads('[3, {}]'),
                     lambda lib: lib.treespec_loads('[1, {"type": "no.such", "context": "null", "children_spec": []}]'),
                     lambda lib: lib.treespec_loads(
                         '[1, {"type": "collections.namedtuple", "context": "no.such", "children_spec": []}]')):
            assert outcome(call, ours) == outcome(call, theirs)
            assert outcome(call, ours)[0] != "value"
    finally:
        for lib in (ours, theirs):
            lib._deregister_pytree_node(Unnamed)


def test_named_tuples_and_enumerations_as_text():
    class Marked:
        def __init__(self, value):
            self.value = value
    texts = []
    for lib in (ours, theirs):
        lib._register_namedtuple(Point, serialized_type_name="tests.Point")
        lib.register_pytree_node(Marked, lambda x: ([x.value], {"shade": Shade.DARK}), lambda values, _: Marked(*values),
                                 serialized_type_name="tests.Marked")
        try:
            spec = lib.tree_structure([Point(1, (2,)), Marked(3)])
            texts.append(lib.treespec_dumps(spec).replace(__name__, "here"))
            again = lib.treespec_loads(lib.treespec_dumps(spec))
            assert again == spec and again.child(1).context == {"shade": Shade.DARK}
        finally:
            lib._deregister_pytree_node(Point)
            lib._deregister_pytree_node(Marked)
    assert texts[0] == texts[1]


@dataclasses.dataclass
class Body:
    mass: object
    place: object = None
    name: str = "body"
    known: int = dataclasses.field(default=0, init=False)


class Bare:
    def __init__(self, a, b):
        self.a, self.b = a, b


@pytest.mark.parametrize("words", [{}, {"field_names": ["mass", "place"], "drop_field_names": ["name"]}])
def test_dataclasses_as_containers(words):
    found = []
    for lib in (ours, theirs):
        lib.register_dataclass(Body, serialized_type_name="tests.Body", **words)
        try:
            tree = [Body((1, 2), None), Body(3, {"x": 4}, "other")]
            leaves, spec = lib.tree_flatten(tree)
            paths = [(lib.keystr(p), v) for p, v in lib.tree_flatten_with_path(tree)[0]]
            text = lib.treespec_dumps(spec)
            assert lib.treespec_loads(text) == spec and lib.treespec_dumps(lib.treespec_loads(text)) == text
            found.append((leaves, repr(spec), paths, text, lib.tree_map(lambda x: [x, x], tree)))
        finally:
            lib._deregister_pytree_node(Body)
    assert found[0] == found[1]


def test_a_registered_dataclass_is_a_nest_to_grad():
    ours.register_dataclass(Body, field_names=["mass", "place"], drop_field_names=["name"])
    try:
        g = ng.func.grad(lambda b: (b.mass * b.mass * b.place).sum())(Body(ng.tensor([2.0, 3.0]), ng.tensor([5.0, 7.0])))
        assert isinstance(g, Body) and g.mass.tolist() == [20, 42] and g.place.tolist() == [4, 9]
    finally:
        ours._deregister_pytree_node(Body)


@pytest.mark.parametrize("call", [
    lambda lib: lib.register_dataclass(Bare), lambda lib: lib.register_dataclass(Body, field_names=["mass", "place"]),
    lambda lib: lib.register_dataclass(Body, field_names=["mass", "place", "name", "more"])])
def test_refused_dataclasses(call):
    assert outcome(call, ours) == outcome(call, theirs)
    assert outcome(call, ours)[0] is ValueError
