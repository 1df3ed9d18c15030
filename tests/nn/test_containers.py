"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: as lists and dicts; PyTorch is the oracle."""

import pytest
from module_helpers import same_error

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def names(container):
    return [type(m).__name__ for m in container]


def test_sequential_as_a_list():
    def run(lib):
        nn = lib.nn
        s = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Flatten())
        log = [names(s[1:3]), list(s[1:3]._modules), names(s[::2]), type(s[-1]).__name__, len(s)]
        s.append(nn.ELU()).insert(1, nn.GELU())
        log.append(names(s))
        s.insert(-1, nn.SiLU())
        s.extend([nn.Mish()])
        log.append((names(s), list(s._modules)))
        del s[0]
        del s[-2:]
        log.append((names(s), list(s._modules), type(s.pop(1)).__name__, names(s)))
        s[0] = nn.Softplus()
        log += [names(s + s), names(s * 2), names(2 * s)]
        s += nn.Sequential(nn.ReLU())
        s *= 2
        log += [names(s), repr(s), "0" in dir(s)]
        return log

    assert run(ng) == run(torch)
    same_error(lambda lib: lib.nn.Sequential(lib.nn.ReLU())[1])
    same_error(lambda lib: lib.nn.Sequential(lib.nn.ReLU()) + [1])
    same_error(lambda lib: lib.nn.Sequential(lib.nn.ReLU()).insert(5, lib.nn.ReLU()))
    same_error(lambda lib: lib.nn.Sequential(lib.nn.ReLU()).insert(0, 3))
    same_error(lambda lib: lib.nn.Sequential(lib.nn.ReLU()) * 0)
    same_error(lambda lib: lib.nn.Sequential(3))


def test_module_list_and_dict():
    def run(lib):
        nn = lib.nn
        m = nn.ModuleList([nn.ReLU(), nn.Tanh()])
        m.append(nn.ELU()).extend([nn.GELU(), nn.SiLU()])
        m.insert(1, nn.Mish())
        m += [nn.Flatten()]
        log = [names(m), names(m[1:4]), names(m + m[:1]), type(m.pop(2)).__name__, names(m), list(m._modules)]
        del m[1:3]
        m[-1] = nn.Identity()
        log += [names(m), list(m._modules), repr(m)]
        d = nn.ModuleDict([["a", nn.ReLU()], ["b", nn.Tanh()]])
        d.update({"c": nn.ELU(), "b": nn.GELU()})
        d["e"] = nn.Mish()
        log += [list(d), type(d.pop("a")).__name__, "b" in d, len(d), list(d.keys()), names(d.values()), repr(d)]
        del d["b"]
        log.append([k for k, _ in d.items()])
        d.clear()
        return [*log, len(d)]

    assert run(ng) == run(torch)
    same_error(lambda lib: lib.nn.ModuleList([lib.nn.ReLU()])[3])
    same_error(lambda lib: lib.nn.ModuleList().extend(3))
    same_error(lambda lib: lib.nn.ModuleDict(3))
    same_error(lambda lib: lib.nn.ModuleDict([["a", lib.nn.ReLU(), 3]]))
    same_error(lambda lib: lib.nn.ModuleDict([3]))
    same_error(lambda lib: lib.nn.ModuleDict()["a"])
    same_error(lambda lib: lib.nn.ModuleDict({"pop": lib.nn.ReLU()}))
    same_error(lambda lib: lib.nn.ModuleList()(3))


def test_parameter_list_and_dict():
    def run(lib):
        nn = lib.nn
        p = nn.ParameterList([lib.ones(1), nn.Parameter(lib.ones(2)), "x"])
        p.append(lib.zeros(3)).extend([lib.zeros(4)])
        p += [lib.zeros(5)]
        p[0] = lib.ones(7)
        log = [len(p), [n for n, _ in p.named_parameters()], p[2], list(p[0].shape), len(p[1:3]), repr(p)]
        d = nn.ParameterDict({"b": lib.ones(2), "a": lib.ones(1), "n": None})
        d["z"] = lib.zeros(3)
        log += [list(d), d.get("q", 4), d.setdefault("n", 1), list(d.pop("a").shape), len(d), list(reversed(d))]
        log += [d.popitem()[0], list(d.copy().keys()), list(d.fromkeys(["u", "v"], 1)), "b" in d, repr(d)]
        log += [list(d | nn.ParameterDict({"w": 1})), [n for n, _ in d.named_parameters()]]
        d.clear()
        return [*log, len(d)]

    ours, theirs = run(ng), run(torch)
    assert [str(x).replace("numbagrad.", "torch.") for x in ours] == [str(x) for x in theirs]
    same_error(lambda lib: lib.nn.ParameterList()())
    same_error(lambda lib: lib.nn.ParameterDict()(1))
    same_error(lambda lib: lib.nn.ParameterDict()[3])
    same_error(lambda lib: lib.nn.ParameterDict({"a": 1})["b"])
    same_error(lambda lib: lib.nn.ParameterDict(3))
    same_error(lambda lib: lib.nn.ParameterList(lib.ones(2)))
