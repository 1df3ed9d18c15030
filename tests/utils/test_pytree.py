"""``torch.utils._pytree``: nests taken apart and put together as PyTorch does, beside PyTorch."""

from __future__ import annotations

import collections
import copy
import dataclasses
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
