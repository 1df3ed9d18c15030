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


def test_parts_of_layers_that_subclasses_call_and_replace():
    def run(T):
        nn = T.nn
        T.manual_seed(0)

        class Encoder(nn.TransformerEncoderLayer):
            def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
                return 2 * super()._sa_block(x, attn_mask, key_padding_mask, is_causal=is_causal)

            def _ff_block(self, x):
                return super()._ff_block(x) + x

        class Decoder(nn.TransformerDecoderLayer):
            def _mha_block(self, x, mem, attn_mask, key_padding_mask, is_causal=False):
                return 3 * super()._mha_block(x, mem, attn_mask, key_padding_mask, is_causal)

        class Typed(nn.Parameter):
            def __new__(cls, data, kind=None, requires_grad=True):
                made = nn.Parameter.__new__(cls, data, requires_grad)
                made.kind = kind
                return made
        x = T.randn(3, 2, 4)
        out = [Encoder(4, 2, 8, 0.)(x)[0, 0].tolist(), Decoder(4, 2, 8, 0.)(x, x + 1)[0, 0].tolist()]
        conv = nn.ConvTranspose2d(2, 3, 3, stride=2)
        image = T.randn(1, 2, 4, 4)
        out += [list(conv._output_padding(image, size, [2, 2], [0, 0], [3, 3], 2)) for size in (None, [10, 10], (1, 3, 9, 10))]
        out += [list(conv._output_padding(image, (10, 11), (2, 2), (0, 0), (3, 3), 2, (1, 2)))]
        table = nn.Embedding(3, 2, padding_idx=1)
        nn.init.ones_(table.weight)
        table._fill_padding_idx_with_zero()
        layer = nn.Linear(2, 2)
        pair = nn.Sequential(layer, layer)
        out += [table.weight.tolist(), nn.ModuleList([layer, layer])._get_abs_string_index(-1),
                pair._get_item_by_idx(iter("ab"), -1), Typed(T.ones(2), kind="ball").kind,
                [n for n, _ in pair._named_members(lambda m: m._parameters.items())],
                [n for n, _ in pair._named_members(lambda m: [("x", m)], prefix="q", remove_duplicate=False)]]
        return out
    ours, theirs = run(ng), run(torch)
    assert ours[2:] == theirs[2:]
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5, abs=1e-6) and ours[1] == pytest.approx(theirs[1], rel=1e-5, abs=1e-6)
