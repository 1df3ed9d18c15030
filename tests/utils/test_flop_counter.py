"""``FlopCounterMode``: PyTorch's counts of products and convolutions, forward and backward, by modules."""

from __future__ import annotations

import importlib

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def counted(lib, work):
    counter = importlib.import_module(lib.__name__ + ".utils.flop_counter").FlopCounterMode(display=False)
    with counter:
        work(lib)
    counts = {k: sorted((str(n), v) for n, v in c.items()) for k, c in counter.get_flop_counts().items()}
    return counter.get_total_flops(), counts, counter


def network(lib):
    m = lib.nn.Sequential(lib.nn.Linear(4, 8), lib.nn.ReLU(), lib.nn.Linear(8, 2))
    m(lib.ones(3, 4)).sum().backward()


def convolutions(lib):
    lib.nn.Conv2d(2, 4, 3, padding=1)(lib.ones(1, 2, 5, 5)).sum().backward()
    lib.nn.ConvTranspose2d(2, 4, 3, stride=2)(lib.ones(1, 2, 5, 5, requires_grad=True)).sum().backward()
    lib.nn.Conv1d(4, 4, 3, groups=2)(lib.ones(2, 4, 9)).sum().backward()


def products(lib):
    lib.bmm(lib.ones(2, 3, 4), lib.ones(2, 4, 5))
    lib.nn.Linear(3, 4, bias=False)(lib.ones(2, 2, 3))
    lib.ones(2, 3) @ lib.ones(3, 4)
    lib.addmm(lib.ones(4), lib.ones(2, 3), lib.ones(3, 4))
    lib.mm(lib.ones(2, 3, requires_grad=True), lib.ones(3, 4, requires_grad=True)).sum().backward()


def named(lib):
    f, a, b, c = lib.nn.functional, lib.ones(2, 3), lib.ones(3, 4), lib.ones(4)
    lib.mm(a, mat2=b), lib.mm(input=a, mat2=b), lib.matmul(a, other=b)
    lib.addmm(c, mat1=a, mat2=b), lib.baddbmm(lib.ones(5, 2, 4), batch1=lib.ones(5, 2, 3), batch2=lib.ones(5, 3, 4))
    f.linear(input=a, weight=b.t(), bias=c), f.linear(a, b.t(), bias=c)
    f.conv2d(input=lib.ones(1, 2, 4, 4), weight=lib.ones(3, 2, 3, 3))


def shapes(lib):
    a, b, c = lib.ones(2, 3), lib.ones(3, 4), lib.ones(4)
    b @ c, c @ c, lib.ones(3) @ b, lib.ones(5, 2, 3) @ b, lib.ones(5, 2, 4) @ c, a @ lib.ones(5, 3, 4)
    lib.ones(2, 3, requires_grad=True) @ lib.ones(5, 3, 4)
    lib.nn.functional.linear(lib.ones(2, 5, 3), b.t(), c), lib.nn.functional.linear(lib.ones(3), b.t(), c)


@pytest.mark.parametrize("work", [network, convolutions, products, named, shapes])
def test_counts(work):
    ours, theirs = counted(ng, work), counted(torch, work)
    assert ours[:2] == theirs[:2]
    assert ours[0] > 0


def test_table():
    pytest.importorskip("tabulate", reason="PyTorch draws its table with it")
    assert counted(ng, network)[2].get_table() == counted(torch, network)[2].get_table()


def test_it_prints_its_table_and_leaves_no_hooks(capsys):
    from numbagrad.utils.flop_counter import FlopCounterMode
    layer = ng.nn.Linear(4, 8)
    with ng.no_grad(), FlopCounterMode() as counter:
        layer(ng.ones(3, 4))
    assert capsys.readouterr().out.startswith("Module          FLOP    % Total") and counter.get_total_flops() == 192
    layer(ng.ones(3, 4))
    assert counter.get_total_flops() == 192


def test_what_it_does_not_know_it_says():
    from numbagrad.utils.flop_counter import FlopCounterMode
    with pytest.raises(NotImplementedError, match="custom_mapping"):
        FlopCounterMode(custom_mapping={ng.mm: lambda *shapes, **kwargs: 1})
    with pytest.warns(UserWarning, match="mods argument is not needed anymore"):
        FlopCounterMode(ng.nn.Linear(2, 2), display=False)
