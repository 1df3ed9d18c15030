"""What a first-order rule returns is outside of the graph: a leaf would copy a recorded gradient instead of keeping it."""

import numbagrad as ng
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch.sampling import Case, flat


def test_no_rule_records(monkeypatch):
    from numbagrad.ops.product import product
    monkeypatch.setattr(product, "LIMIT", 0)  # products go the way of large ones
    monkeypatch.setattr(product, "SHORT", 0)
    recorded, asked = set(), 0
    for op in REGISTRY.values():
        if op.differentiable and op.samples:
            case = Case(op, 0)
            for o in flat(case.call(case.tensors(requires_grad=True))):
                if o._node is not None and hasattr(o._node, "backward"):
                    asked += 1
                    if any([g is not None and g._rg for g in o._node.backward(ng.ones_like(o))]):
                        recorded.add((op.name, o.grad_fn.name()))
    assert asked > 250 and not recorded


def test_leaves_keep_the_gradients_of_large_products():
    vector, matrix, batch = (ng.ones(*shape, requires_grad=True) for shape in ((200_000,), (8, 200_000), (2, 8, 200_000)))
    linear = ng.nn.functional.linear
    for product in (lambda: vector.dot(vector), lambda: matrix.mv(vector), lambda: matrix @ vector, lambda: batch @ vector,
                    lambda: linear(matrix, matrix), lambda: linear(batch, matrix), lambda: matrix.mm(matrix.t())):
        out = product()
        assert not any([g is not None and g._rg for g in out._node.backward(ng.ones_like(out))]), out.grad_fn
