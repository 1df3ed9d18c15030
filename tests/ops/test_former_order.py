"""Numbers before tensors, as in PyTorch before 1.5: its programs run, with its warning."""

from __future__ import annotations

import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.dispatch import former

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
SHAPES = {"addmm": ((2, 4), (2, 3), (3, 4)), "addmv": ((2,), (2, 3), (3,)), "addr": ((2, 3), (2,), (3,)),
          "baddbmm": ((2, 2, 4), (2, 2, 3), (2, 3, 4)), "addbmm": ((2, 4), (2, 2, 3), (2, 3, 4)),
          "add": ((2, 3), (2, 3)), "sub": ((2, 3), (3,)), "addcmul": ((2, 3),) * 3, "addcdiv": ((2, 3),) * 3}


def calls(name):
    """Calls in the former order: {what it is called: function of a library and tensors}."""
    plain, inplace = (lambda lib, t: getattr(t, name)), (lambda lib, t: getattr(t, name + "_"))
    found = {"method": lambda lib, x, *t: plain(lib, x)(2, *t), "in place": lambda lib, x, *t: inplace(lib, x.clone())(0.5, *t),
             "tensor of one number": lambda lib, x, *t: inplace(lib, x.clone())(lib.tensor(0.5, dtype=lib.float64), *t)}
    if name in former.PRODUCTS:
        return {"function": lambda lib, x, *t: getattr(lib, name)(2, x, *t),
                "function of two": lambda lib, x, *t: getattr(lib, name)(2, x, 0.5, *t),
                "method": found["method"], "method of two": lambda lib, x, *t: plain(lib, x)(2, 0.5, *t),
                "in place": found["in place"], "in place of two": lambda lib, x, *t: inplace(lib, x.clone())(2, 0.5, *t)}
    out = {"out": lambda lib, x, *t: getattr(lib, name)(x, 3, *t, out=lib.empty(0, dtype=lib.float64))}
    return {**found, **out, "function": lambda lib, x, *t: getattr(lib, name)(x, 3, *t)}


def tensors(lib, name):
    gen = torch.Generator().manual_seed(1)
    made = [torch.rand(s, generator=gen, dtype=torch.float64) + 0.5 for s in SHAPES[name]]
    return [lib.tensor(t.tolist(), dtype=lib.float64).requires_grad_() for t in made]


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
@pytest.mark.parametrize("name", SHAPES)
def test_results_and_gradients_are_pytorchs(name):
    for what, call in calls(name).items():
        results = []
        for lib in (ng, torch):
            args = [t.detach() for t in tensors(lib, name)] if what == "out" else tensors(lib, name)
            for _ in range(2):
                y = call(lib, *args)
            grads = []
            if what != "out":
                first = lib.autograd.grad((y * y).sum(), args, create_graph=True)
                grads = [*first, *lib.autograd.grad(sum([(g * g).sum() for g in first]), args)]
            results.append([t.detach().numpy() for t in (y, *grads)])
        for ours, theirs in zip(*results, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9), what


@pytest.mark.parametrize("call", [
    "torch.add(a, 2, a)", "a.add_(2, a)", "torch.sub(a, 2, a)", "torch.addcmul(a, 2, a, a)", "a.addcdiv_(2, a, a)",
    "torch.addmm(2, a, 3, a, a)", "torch.addmm(2, a, a, a)", "a.addmm_(2, 3, a, a)", "a.addmm_(2, a, a)",
    "torch.addbmm(2, a, 3, b, b)", "torch.addr(2, a, 3, v, v)", "torch.addmv(2, v, a, v)", "b.baddbmm_(2, b, b)"])
def test_warning_is_pytorchs_and_comes_once(call):
    code = f"""
import warnings
a, v, b = torch.ones(2, 2), torch.ones(2), torch.ones(2, 2, 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {call}
    {call}
    a.sub_(1, a)
print([(w.category.__name__, str(w.message).split(" (Triggered")[0], w.filename) for w in caught])
"""
    said = [subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True).stdout
            for start in ("import numbagrad as torch", "import torch")]
    assert said[0] == said[1] and said[0].count("This overload") == 1


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_what_is_no_former_order_is_refused():
    a, m = ng.ones(2, 2), ng.ones(2, 2)
    b, n = torch.ones(2, 2), torch.ones(2, 2)
    for call in (lambda x, y: x.add(y, 2), lambda x, y: x.add(y, y), lambda x, y: x.add_(y, y),
                 lambda x, y: x.add(2, y, alpha=3), lambda x, y: x.sub(y, 2), lambda x, y: x.addmm(y, y, 2),
                 lambda x, y: x.addmm(2, 3, 4, y), lambda x, y: x.addmm_(y, y, y), lambda x, y: x.addmm(2, y, y, beta=3),
                 lambda x, y: x.addcmul(y, y, value=y), lambda x, y: x.addr_(y, y, 1, 2)):
        for args in ((a, m), (b, n)):
            with pytest.raises(TypeError):
                call(*args)


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_modes_around_the_former_order():
    a, c = ng.ones(2, 2), torch.ones(2, 2)
    with ng.autocast("cpu"), torch.autocast("cpu"):
        assert a.addmm(2, a, a).dtype is ng.bfloat16 and c.addmm(2, c, c).dtype is torch.bfloat16
        assert a.addmm(a, a).dtype is ng.bfloat16 and a.add(2, a).tolist() == c.add(2, c).tolist()
    assert a.add(2, 3).tolist() == c.add(2, 3).tolist() and a.sub(2, 3.5).tolist() == c.sub(2, 3.5).tolist()
    with ng.no_grad():
        assert not a.requires_grad_().add(2, a).requires_grad
    assert ng.vmap(lambda x: x.add(2, x))(ng.ones(3)).tolist() == [3, 3, 3]
    assert ng.func.grad(lambda x: x.addcmul(2, x, x))(ng.tensor(3.0)).item() == 13

    @ng.compile
    def step(x):
        return x.add(2, x).mul(3)
    assert step(ng.ones(2)).tolist() == step(ng.ones(2)).tolist() == [9, 9]
    with ng.profiler.profile() as prof:
        ng.ones(2).add(2, ng.ones(2))
    assert any(e.key == "aten::add" for e in prof.key_averages())


def test_shown_parameters_are_those_of_today():
    import inspect
    assert list(inspect.signature(ng.add).parameters) == ["input", "other", "alpha", "out"]
    assert list(inspect.signature(ng.addmm).parameters) == ["input", "mat1", "mat2", "beta", "alpha", "out"]
    assert list(inspect.signature(ng.Tensor.addmm_).parameters) == ["input", "mat1", "mat2", "beta", "alpha"]
