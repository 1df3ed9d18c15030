"""Random nests of three transforms, from functions of three numbers to such functions, against PyTorch."""

import random

import numpy as np
import pytest
from sides import same

W, V, S, X, AT = (np.random.default_rng(i).normal(size=size) for i, size in enumerate([(3, 3), 3, 2, (4, 3), 3]))


def transforms(T):
    """(a function, {name: what makes another function of one})."""
    w, v, s, x = map(T.tensor, (W, V, S, X))
    f = T.func

    def linear(h):
        return lambda a: f.linearize(h, a)[1](v) if T.__name__ == "numbagrad" else f.jvp(h, (a,), (v,))[1]
    return lambda a: a.sin() * (w @ a) + a.cumsum(0), {
        "grad": lambda h: f.grad(lambda a: h(a).sum()),
        "jvp": lambda h: lambda a: f.jvp(h, (a,), (v,))[1],
        "jvp_along": lambda h: lambda a: f.jvp(h, (v,), (a,))[1],
        "vjp": lambda h: lambda a: f.vjp(h, a)[1](v)[0],
        "vjp_along": lambda h: lambda a: f.vjp(h, v)[1](a)[0],
        "jacrev": lambda h: lambda a: f.jacrev(h)(a).sum(0),
        "jacfwd": lambda h: lambda a: f.jacfwd(h)(a).sum(1),
        "hessian": lambda h: lambda a: f.hessian(lambda b: (h(b) * b).sum())(a).sum(0),
        "linearize": linear,
        "vmap": lambda h: lambda a: T.vmap(lambda b: h(a * b))(s).sum(0),
        "vmap_rows": lambda h: lambda a: T.vmap(h)(x * a).mean(0),
        "vmap_shared": lambda h: lambda a: T.vmap(lambda b: h(a) * b)(s).sum(0),
        "mixed": lambda h: lambda a: h(a) * h(v) + a,
    }


NAMES = ["grad", "jvp", "jvp_along", "vjp", "vjp_along", "jacrev", "jacfwd", "hessian", "linearize", "vmap", "vmap_rows",
         "vmap_shared", "mixed"]
DRAWN = [random.Random(seed).choices(NAMES, k=3) for seed in range(60)]


@pytest.mark.parametrize("names", DRAWN, ids="-".join)
def test_nests(names, torch):
    def code(T):
        function, by_name = transforms(T)
        for name in names:
            function = by_name[name](function)
        return function(T.tensor(AT))
    same(torch, code)
