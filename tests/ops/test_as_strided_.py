"""``as_strided_`` beside PyTorch's: geometry, errors, and gradients of inputs that lie in memory in any way."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
MADE = {"row-major": lambda x: x * 2, "slice": lambda x: (x * 2)[4:], "matrix": lambda x: (x * 2).view(3, 4),
        "transposed": lambda x: (x * 2).view(3, 4).t(), "column-major": lambda x: (x * 2).view(3, 4).t().contiguous().t(),
        "rows": lambda x: (x * 2).view(3, 4)[1:], "steps": lambda x: (x * 2).view(4, 3)[:, ::2],
        "expanded": lambda x: (x * 2)[:4].expand(3, 4)}
GEOMETRIES = [((2, 2), (3, 1), 1), ((2, 2), (1, 2), 0), ((3, 2), (1, 1), 2), ((2,), (1,)), ((), ()), ((2, 3), (0, 1), 1)]


def shown(x):
    return (x.tolist(), x.stride(), x.storage_offset(), tuple(x.shape), x._version, x.requires_grad, type(x.grad_fn).__name__,
            x.is_contiguous())


def outcome(action, lib):
    try:
        return action(lib)
    except Exception as e:
        return type(e).__name__, str(e).split("\n")[0]


def both(action):
    ours, theirs = (outcome(action, lib) for lib in (ng, torch))
    assert ours == theirs


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("made", MADE)
def test_gradients(made, geometry):
    def run(lib):
        a = lib.arange(12.0, dtype=lib.float64).requires_grad_()
        x = MADE[made](a)
        assert x.as_strided_(*geometry) is x
        g, = lib.autograd.grad((x**2).sum(), a, create_graph=True)
        return shown(x), g.tolist(), lib.autograd.grad(g.sum(), a)[0].tolist()
    both(run)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("made", MADE)
def test_without_gradients(made, geometry):
    both(lambda lib: shown(MADE[made](lib.arange(12.0)).as_strided_(*geometry)))
    both(lambda lib: shown(lib.as_strided_(MADE[made](lib.arange(12.0)), *geometry)))


def test_errors_and_forms():
    both(lambda lib: shown(lib.arange(12.0).requires_grad_().as_strided_((2, 2), (3, 1), 1)))
    both(lambda lib: shown(lib.arange(4.0).as_strided_(size=[2], stride=[1], storage_offset=1)))
    for geometry in (((3,), (2,)), ((3,), (-1,), 3), ((3,), (1, 1)), ((2,), (1,), -1)):
        both(lambda lib, geometry=geometry: shown(lib.arange(4.0).as_strided_(*geometry)))

    def written(lib):
        a = lib.arange(12.0).requires_grad_()
        b = a * 2
        x = b.view(3, 4)
        x.as_strided_((2, 2), (1, 2), 0).mul_(3)
        return shown(x), shown(b), lib.autograd.grad(b.sum(), a)[0].tolist()
    both(written)
