"""Views of several outputs, of no_grad and of custom functions after a change of theirs or of their base: PyTorch's errors."""

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng

SPLITS = {"unbind": lambda y: y.unbind(), "split": lambda y: y.split(1), "chunk": lambda y: y.chunk(2),
          "tensor_split": lambda y: y.tensor_split(2)}


def leaf(T):
    return T.tensor([1.0, 2.0], requires_grad=True)


def in_no_grad(T, f):
    with T.no_grad():
        return f()


def base_changed(T, split):
    y = leaf(T).clone()
    views = split(y)
    y.mul_(2)
    return views[0] + 0


def base_changed_elsewhere(T, split):
    y = leaf(T).clone()
    views = split(y)
    y[0] = 3
    return views[1] + 0


def base_changed_by_gradient(T, split):
    y = T.ones(2)
    views = split(y)
    y.mul_(leaf(T))
    return views[0] + 0


def base_without_gradient(T, split):
    y = T.ones(2)
    views = split(y)
    y.mul_(2)
    return views[0] + 0


def changed_in_no_grad(T, split):
    y = leaf(T).clone()
    views = split(y)
    in_no_grad(T, lambda: views[0].mul_(2))
    return in_no_grad(T, lambda: (views[1] + 0).tolist()), views[1].requires_grad, views[1] + 0


def made_in_no_grad(T, split):
    y = leaf(T).clone()
    views = in_no_grad(T, lambda: split(y))
    y.mul_(2)
    return views[0] + 0


def view_changed(T, split):
    return split(leaf(T).clone())[0].mul_(2)


def view_without_gradient_changed(T, split):
    y = T.ones(2)
    split(y)[0].mul_(2)
    return y


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("case", [base_changed, base_changed_elsewhere, base_changed_by_gradient, base_without_gradient,
                                  changed_in_no_grad, made_in_no_grad, view_changed, view_without_gradient_changed],
                         ids=lambda f: f.__name__)
def test_several_views(torch, case, name):
    agrees(lambda T: case(T, SPLITS[name]))


def function(T, forward, backward):
    return type("F", (T.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def doubled(T):
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x
    return function(T, forward, lambda ctx, g: g * 2)


def marked(T, which):
    def forward(ctx, x):
        ctx.mark_dirty(which(T, x))
        return x * 1
    return function(T, forward, lambda ctx, g: g)


FUNCTIONS = {
    "a new tensor marked dirty": lambda T: marked(T, lambda T, x: T.ones(2)).apply(leaf(T).clone()),
    "without gradient too": lambda T: marked(T, lambda T, x: T.ones(2)).apply(T.ones(2)),
    "a view of the input marked dirty": lambda T: marked(T, lambda T, x: x[:1]).apply(leaf(T).clone()),
    "dirty output of unbind": lambda T: doubled(T).apply(leaf(T).clone().unbind()[0]),
    "dirty output of split": lambda T: doubled(T).apply(leaf(T).clone().split(1)[0]),
    "dirty view of a leaf": lambda T: doubled(T).apply(leaf(T)[:1]),
    "dirty leaf": lambda T: doubled(T).apply(leaf(T)),
    "dirty view": lambda T: doubled(T).apply(leaf(T).clone()[:1]),
    "dirty integers": lambda T: doubled(T).apply(T.ones(2, dtype=T.int64)),
    "two views": lambda T: function(T, lambda ctx, x: (x[:1], x[1:]), lambda ctx, g, h: T.cat([g, h])).apply(
        leaf(T).clone())[0].mul_(2),
    "view": lambda T: function(T, lambda ctx, x: x.view_as(x), lambda ctx, g: g).apply(leaf(T).clone()).mul_(2)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(torch, name):
    agrees(FUNCTIONS[name])


@pytest.mark.parametrize("same", [True, False])
def test_base_of_a_functions_view(torch, same):
    def case(T):
        y = leaf(T).clone()
        v = function(T, lambda ctx, x: x if same else x.view_as(x), lambda ctx, g: g).apply(y)
        y.mul_(2)
        return v + 0
    agrees(case)


def test_marks_of_something_else():
    with pytest.raises(RuntimeError, match="mark_dirty can only accept variables, but argument 0 is of type int"):
        marked(ng, lambda T, x: 5).apply(leaf(ng).clone())

    def forward(ctx, x):
        ctx.mark_non_differentiable(None)
        return x * 2
    with pytest.raises(RuntimeError, match="mark_non_differentiable only accepts variable arguments, but got NoneType"):
        function(ng, forward, lambda ctx, g: g).apply(leaf(ng))


GRADIENTS = {"none": lambda T, g: None, "too many": lambda T, g: (g, g), "None too many": lambda T, g: (g, None),
             "no": lambda T, g: (), "number": lambda T, g: 2.0, "other shape": lambda T, g: T.ones(3),
             "broadcast": lambda T, g: T.ones(1), "wider": lambda T, g: T.ones(3, 2), "double": lambda T, g: g.double(),
             "integers": lambda T, g: T.ones(2, dtype=T.int64)}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_a_function_returns(torch, name):
    def case(T):
        x = leaf(T)
        function(T, lambda ctx, x: x * 2, lambda ctx, g: GRADIENTS[name](T, g)).apply(x).sum().backward()
        return x.grad
    agrees(case)


# --- as_strided -------------------------------------------------------------------------------------------------------

LEAVES = {"row": lambda T, a: T.from_numpy(a.copy()), "column": lambda T, a: T.from_numpy(np.asfortranarray(a)),
          "gaps": lambda T, a: T.from_numpy(np.repeat(a, 2, 1))[:, ::2].detach(),
          "offset": lambda T, a: T.from_numpy(np.pad(a.reshape(-1), (5, 4)))[5:17].view(3, 4).detach(),
          "expanded": lambda T, a: T.from_numpy(a[0].copy()).expand(3, 4).detach()}
GEOMETRIES = [((2, 2), (1, 2)), ((2, 3), (1, 1)), ((2, 2), (2, 1), 0), ((4,), (1,)), ((2, 2), (0, 1)), ((), ()),
              ((2, 0), (1, 1)), ((3,), (1,), 1)]


@pytest.mark.parametrize("name", LEAVES)
def test_gradient_of_as_strided(torch, name):
    for geometry in GEOMETRIES:
        found = []
        for T in (ng, torch):
            x = LEAVES[name](T, np.arange(1.0, 13).reshape(3, 4)).requires_grad_()
            y = x.as_strided(*geometry)
            up = T.arange(1, y.numel() + 1, dtype=T.float64).view(tuple(y.shape))
            g, = T.autograd.grad(y, x, up)
            found.append((y.tolist(), g.tolist()))
        assert found[0] == found[1], geometry


WRITES = {"select_scatter": lambda x, d: x.select_scatter((x[:, 0] * 2).to(d), 1, 2),
          "slice_scatter": lambda x, d: x.slice_scatter((x[:, :2] * 2).to(d), 1, 0, 4, 2),
          "diagonal_scatter": lambda x, d: x.diagonal_scatter((x[:, 0] * 2).to(d), 1)}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("layout", LEAVES)
def test_scatters_into_regions(torch, name, layout):
    """The source is converted, and its gradient comes back in its own dtype."""
    for d in ("float64", "float32", "float16"):
        found = []
        for T in (ng, torch):
            x = LEAVES[layout](T, np.arange(1.0, 13).reshape(3, 4)).requires_grad_()
            y = WRITES[name](x, getattr(T, d))
            g, = T.autograd.grad(y, x, T.arange(1, 13, dtype=T.float64).view(3, 4))
            found.append((str(y.dtype), y.tolist(), g.tolist()))
        assert found[0] == found[1], d


def test_regions_that_overlap_are_refused():
    x = ng.arange(6.0).view(2, 3)
    for stride in ((1, 1), (0, 1)):
        with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
            x.as_strided_scatter(ng.ones(2, 2), (2, 2), stride)
    assert x.as_strided_scatter(ng.ones(2, 2), (2, 2), (3, 1), 1).tolist() == [[0, 1, 1], [3, 1, 1]]
