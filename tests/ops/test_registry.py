"""The registry is complete: what every op must bring, and where it must appear."""

import importlib
import inspect

import pytest
from registry.draw import ONLY, Case, flat, ids, registered
from registry.known import WITHOUT

import numbagrad as ng
from numbagrad.extend import REGISTRY
from numbagrad.public.namespace import MODULES

ALL = registered()


@pytest.mark.skipif(bool(ONLY), reason="one op was asked for")
def test_there_are_ops():
    assert len(ALL) > 300
    assert len({op.name for op in ALL}) == len(ALL)


@pytest.mark.parametrize("op", ALL, ids=ids)
def test_entry_is_complete(op):
    """A docstring, samples that run and a reference, or a line that says why not."""
    assert len(op.summary) > 4, f"{op.name}: docstring {op.doc!r}"
    if op.private:  # part of a public op and run by that op's samples
        return
    reason = WITHOUT.get(op.name)
    complete = op.samples and (op.reference is not None or op.random)
    assert complete or reason, f"{op.name} has {'no reference' if op.samples else 'no samples'}"
    assert not (complete and reason), f"{op.name} is complete: take it off the list of exceptions"
    for space in op.namespaces:
        module = importlib.import_module(MODULES[space])
        for name in (op.name, *op.aliases):
            assert callable(getattr(module, name, None)), f"{op.name}: {module.__name__}.{name} is missing"
    if op.method:
        assert callable(getattr(ng.Tensor, op.method, None)), f"{op.name}: Tensor.{op.method} is missing"
    if op.inplace:
        assert callable(getattr(ng.Tensor, op.name + "_", None)), f"{op.name}: Tensor.{op.name}_ is missing"
    if not op.method and not op.namespaces:
        # Indexing makes the one, a module of its own shows the others.
        assert op.kind == "view" or op.name.startswith("linalg_"), f"{op.name} is public and appears nowhere"


def test_exceptions_are_ops():
    assert set(WITHOUT) <= set(REGISTRY)


@pytest.mark.parametrize("op", [op for op in ALL if op.samples], ids=ids)
def test_samples_are_calls(op):
    """Each sample fits the signature and takes at least one tensor, unless nothing of the op does."""
    for i in range(len(op.samples)):
        case = Case(op, i)
        bound = inspect.signature(op.fn).bind
        if op.kind in ("custom", "function"):
            case.call(case.tensors(), lambda *a, bound=bound, **k: bound(*a, **{x: v for x, v in k.items() if x != "out"})
                      if op.kind == "function" else None)
        assert case.arrays or op.random or op.name in WITHOUT, f"{op.name} sample {i} has no tensor"


@pytest.mark.parametrize("op", [op for op in ALL if op.differentiable and op.samples and not op.random
                                and op.dtypes in ("any", "float")], ids=ids)
def test_differentiable_ops_record(op):
    """A differentiable op with an input that requires grad gives at least one result with a graph; others none."""
    recorded = []
    for i in range(len(op.samples)):
        case = Case(op, i)
        if case.differentiable:
            recorded.append(any(t.requires_grad for t in flat(case.call(case.tensors(requires_grad=True)))))
    assert not recorded or any(recorded), f"{op.name} is marked differentiable and records nothing"


@pytest.mark.parametrize("op", [op for op in ALL if not op.differentiable and op.samples and not op.random
                                and not getattr(op, "underived", False)], ids=ids)
def test_others_do_not_record(op):
    case = Case(op, 0)
    if case.differentiable and op.kind != "function":
        assert not any(t.requires_grad for t in flat(case.call(case.tensors(requires_grad=True))))


def test_public_names_are_documented():
    """What the namespaces show has a docstring of its own."""
    for space, name in MODULES.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for op in ALL:
            if space in op.namespaces:
                f = getattr(module, op.name)
                assert (f.__doc__ or "").strip(), f"{name}.{op.name} has no docstring"
