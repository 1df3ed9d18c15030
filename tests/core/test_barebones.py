"""uint16, uint32 and uint64 beside PyTorch: what they are made of, become, print and meet; random pairs of all dtypes."""

import io
import itertools
import pickle
import random
import sys
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base.dtypes import ALL
from numbagrad.dispatch import barebones, layers

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
NAMES = ("uint16", "uint32", "uint64")
# Of a tensor ``x`` of dtype ``d``.
EXPRESSIONS = """
d; d.itemsize, d.is_signed, d.is_floating_point, d.is_complex, d.to_real(); d.to_complex(); lib.iinfo(d); x; x.tolist()
x[2].item(); x[1:].type(); x.dtype; int(x[2]), float(x[2]), bool(x[2]), complex(x[0]); [10, 20, 30][x[0]]; x.view(lib.uint8)
x.storage_type(); x.view(lib.uint8).view(d); x.type("torch.U" + str(d)[7:].capitalize() + "Tensor")
x.is_signed(), x.element_size(); hash(x) == id(x)
lib.zeros(2, dtype=d), lib.ones_like(x), lib.full((2,), 7, dtype=d), lib.empty(0, dtype=d), x.new_zeros(1), x.new_tensor([1])
lib.full((1,), -1, dtype=d); lib.full((1,), 2 ** 64, dtype=d); x.fill_(-2.5); x.fill_(2.5); lib.tensor([-1], dtype=d)
lib.tensor([2 ** 64 - 1], dtype=d); lib.tensor([2 ** 64], dtype=d); lib.tensor([1.5], dtype=d); lib.tensor(1j, dtype=d)
lib.tensor([True], dtype=d); lib.tensor(x.numpy()); lib.tensor(x.numpy()[1]); lib.asarray([1, 2], dtype=d)
lib.scalar_tensor(5, dtype=d); lib.frombuffer(bytearray(range(16)), dtype=d); lib.from_numpy(x.numpy())
lib.arange(3, dtype=d); lib.linspace(0, 1, 3, dtype=d); lib.logspace(0, 1, 3, dtype=d); lib.eye(2, dtype=d)
lib.randint(0, 1000, (5,), dtype=d); lib.randint(-1, 9, (5,), dtype=d); lib.randint(0, 2 ** 50, (2,), dtype=d)
lib.randperm(3, dtype=d); x.random_(); x.random_(9); x.bernoulli_(); x.geometric_(0.5); lib.tril_indices(2, 2, dtype=d)
lib.rand(2, dtype=d); x * 2; x * -1; x * 2.5; x * (2 ** 64 - 1); x * 2 ** 64; x * x; x.mul_(3); x.mul_(2.5); x + 1; 1 - x
x.add_(x); x / 2; x // 2; x % 2; -x; ~x; x ** 2; x & 3; x | x; x ^ x; x << 1; x == x[2]; x == 65537; x != -1; x < 2; abs(x)
x.sign(); x.sum(), x.prod(), x.cumsum(0), x.cumprod(0), x.nansum(); x.sum(dtype=d); x.int().sum(dtype=d); x.cumsum(0, dtype=d)
x.any(), x.all(), x.bool(); x.max(); x.max(0); x.amax(); x.argmax(); x.exp(), x.sqrt(), x.sigmoid(); x.mean()
x.float().mean(); x.sort(descending=True); x.unique(); lib.cat([x, x]), lib.stack([x, x]); lib.cat([x, x.int()])
lib.cat([x, x.float()]); lib.where(x == 1, x, 5 * x); lib.where(x == 1, x, 5); x[x == 1]; x[[2, 0]]; x.masked_fill(x == 1, 3)
x.index_select(0, lib.tensor([0])); x.gather(0, lib.tensor([0])); lib.zeros(3)[x]; x.flip(0)
x.view(3, 1).flip(0), x.view(1, 3).flip(0); x.view(1, 3).fliplr()
x.roll(1), x.repeat(2), x.diag(), x.clone(), x.view(3, 1).t(); x @ x; x.outer(x); lib.isfinite(x), x.isnan(), x.signbit()
x.clamp(1, 3); x.clamp(1.0); x.equal(x.clone()); lib.isclose(x, x)
lib.result_type(x, 1), lib.result_type(x[0], 2.5), lib.result_type(x, 3j); lib.result_type(x[0], lib.ones(2, dtype=lib.int8))
lib.result_type(x[0], lib.ones(2) == 1); x.nonzero(); x.requires_grad_(); lib.complex(x, x); x.storage().tolist(); x.storage()
x.storage().pickle_storage_type(); x.count_nonzero(0); x.count_nonzero(); x.index_put((lib.tensor([0]),), x[:1]); x.matmul(x)
x.expand(2, 3); x.view(3, 1) * x; x.view(3, 1).expand(3, 2).contiguous(); lib.set_default_dtype(d); x.type(lib.FloatTensor)
x.__setitem__(0, -1), x; x.__setitem__(0, 2 ** 70); x.__setitem__(slice(2), lib.ones(2)), x; x.__setitem__(x == 1, 3)
x.long()[x[:2] * 0]; x.__setitem__((x == 1,), x[0]); x.__setitem__(x == 1, x[:1]); x.__setitem__([0], 5)
x.index_put_((lib.tensor([0]),), x.clone()[:1]); x.masked_fill_(x == 1, 3); x.clamp_(1, 3); x.index_fill_(0, lib.tensor([0]), 3)
x.scatter_(0, lib.tensor([0]), 3); x.lt_(x); x.eq_(x); x.bitwise_and_(x), x.square_(); x.float().mul_(x), x.div_(2)
x.new_full((2,), -3); lib.full_like(x, 2 ** 63); x.fill_(2 ** 63)
lib.full((2000,), 2 ** 64 - 1, dtype=lib.uint64).fill_(2 ** 64 - 2)[-1]; lib.UInt16Tensor; lib.UInt16Storage
"""


def outcome(lib, f):
    """What ``f(lib)`` gives as text, or the error."""
    lib.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = repr(f(lib))
        except Exception as e:
            found = f"{type(e).__name__}: {e}"
    return found.replace("numbagrad", "torch")


def most(lib, name):
    """Small numbers and the largest one."""
    return lib.tensor([1, 2, 2 ** (8 * getattr(lib, name).itemsize) - 1], dtype=getattr(lib, name))


@pytest.mark.parametrize("name", NAMES)
def test_expressions(name):
    differing = []
    for text in EXPRESSIONS.strip().replace("\n", "; ").split("; "):
        code = compile(text, text, "eval")
        mine, theirs = [outcome(lib, lambda lib, c=code: eval(c, {"lib": lib, "d": getattr(lib, name), "x": most(lib, name)}))
                        for lib in (ng, torch)]
        if mine != theirs and not mine.startswith(theirs):  # absent names say more
            differing.append((text, mine, theirs))
    assert not differing, "\n".join(map(str, differing))


def pairs(n, seed):
    """Random pairs of dtypes, half of them with a barebones one."""
    draw = random.Random(seed)
    names = [d.name for d in ALL]
    for i in range(n):
        yield draw.choice(names if i % 2 else NAMES), draw.choice(names), draw


def values(draw, name):
    """Numbers that a dtype holds, as Python has them."""
    d = getattr(torch, name)
    if name == "bool":
        return [draw.random() < 0.5 for _ in range(17)]
    if d.is_floating_point or d.is_complex:
        return [round(draw.uniform(-900, 900), 2) for _ in range(17)]
    low, high = torch.iinfo(d).min, torch.iinfo(d).max
    return [draw.choice((low, high, 0, 1, draw.randint(low, high), draw.randint(0, 99))) for _ in range(17)]


def types(lib, a, b):
    """What two dtypes have in common, with dimensions and without."""
    a, b = getattr(lib, a), getattr(lib, b)
    ones = [[lib.ones(shape, dtype=d) for shape in ((), (1,))] for d in (a, b)]
    return [outcome(lib, f) for f in (lambda lib: lib.promote_types(a, b), lambda lib: lib.can_cast(a, b), *[
        lambda lib, x=x, y=y: lib.result_type(x, y) for x, y in itertools.product(*ones)])]


def test_promotion():
    for a, b in itertools.product([d.name for d in ALL], repeat=2):
        wanted = [t.replace("complex32", "complex64") for t in types(torch, a, b)]  # (there is no complex32)
        assert types(ng, a, b) == wanted, (a, b)


def meeting(lib, a, b, x, y):
    """Values as they come from dtype to dtype (negative floats wrap around), rows and gaps; comparisons, bits of integers."""
    x, y = lib.tensor(x, dtype=getattr(lib, a)), lib.tensor(y, dtype=getattr(lib, b))
    whole = not any([d.is_floating_point or d.is_complex for d in (x.dtype, y.dtype)])
    return [outcome(lib, f) for f in (
        lambda lib: x.to(y.dtype).tolist(), lambda lib: x[::3].to(y.dtype).tolist(), lambda lib: x.equal(x.clone()),
        lambda lib: lib.zeros(17, dtype=y.dtype).copy_(x).tolist(), lambda lib: y.clone().fill_(x[1]).tolist(),
        lambda lib: (x == y).tolist(), lambda lib: (x[3] != y).tolist(), lambda lib: whole and (x & y).tolist())]


@pytest.mark.parametrize("seed", range(3))
def test_conversion_and_comparison(seed):
    for a, b, draw in pairs(120, seed):
        x, y = values(draw, a), values(draw, b)
        assert meeting(ng, a, b, x, y) == meeting(torch, a, b, x, y), (a, b, x, y)


def many(lib, array):
    x = lib.from_numpy(array)
    wide = x.view(-1, 50)
    orders = [*x.sort(stable=True), *x.sort(stable=True, descending=True), *wide.sort(dim=0, stable=True),
              *lib.unique(x, return_inverse=True, return_counts=True), lib.unique_consecutive(x)]
    sums = [x.sum(), wide.sum(0), wide.sum(1), x.prod(), wide.cumsum(1), wide.any(0)]
    pointwise = [x * x, x[::2] * 3, x == x.roll(1), x & x.roll(1), lib.where(x == x[3], x, x.roll(2))]
    moved = [wide.t().contiguous(), x[lib.arange(0, 2000, 3)], x[x == x[3]], lib.cat([x, x[:9]])]
    casts = [x[::step].to(getattr(lib, d.name)) for d in ALL if d.name != "bfloat16" for step in (1, 2)]
    casts += [(x.float() * 0.0 - 3.5).to(x.dtype), (x.to(lib.int8).half() * 2).to(x.dtype)]
    return [*orders, *sums, *pointwise, *moved, *casts]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("low", [0, 3 << 62])
def test_many(name, low):
    """Of many elements: other kernels than of few, orders by keys of 32 bits among them."""
    high = 2 ** (8 * getattr(ng, name).itemsize)
    low %= high
    array = np.random.default_rng(0).integers(low, min(high, low + 2 ** 31) if low else high, 2000, name)
    array[::7] = array[3]
    for i, (a, b) in enumerate(zip(many(ng, array.copy()), many(torch, array), strict=True)):
        assert str(a.dtype) == str(b.dtype) and np.array_equal(a.numpy(), b.numpy(), equal_nan=True), i


@pytest.mark.parametrize("name", NAMES)
def test_memory(name):
    """Files both ways, pickles, DLPack, and arrays on the same memory."""
    x, y = most(torch, name), most(ng, name)
    for save, load, t in ((torch.save, ng.load, x), (ng.save, torch.load, y), (ng.save, ng.load, y)):
        file = io.BytesIO()
        save({"whole": t, "part": t[1:]}, file)
        file.seek(0)
        found = load(file)
        assert found["whole"].tolist() == x.tolist() and str(found["part"].dtype) == str(x.dtype)
        assert found["part"].data_ptr() == found["whole"].data_ptr() + x.element_size()
    assert pickle.loads(pickle.dumps(y)).tolist() == x.tolist()
    assert torch.from_dlpack(y).equal(x) and ng.from_dlpack(x).equal(y)
    assert y.numpy().dtype == np.dtype(name) and ng.from_numpy(y.numpy()).data_ptr() == y.data_ptr()
    y.numpy()[0] = 7
    assert y.tolist()[0] == 7


@pytest.mark.parametrize("name", NAMES)
def test_compiled(name):
    """A compiled step computes what the eager one does, and refuses what that refuses."""
    def step(x):
        return (x * 3) ^ x, x == 2, x.float() * 0.5, x.sum(), x.to(ng.int16)
    fast = ng.compile(step)
    for x in (most(ng, name), most(ng, name) * 2, most(ng, name)):
        for a, b in zip(fast(x), step(x), strict=True):
            assert a.dtype is b.dtype and a.tolist() == b.tolist()
    with pytest.raises(NotImplementedError, match="add_stub"):
        ng.compile(lambda x: x + 1)(most(ng, name))


def test_plans():
    """Calls that come again are planned, and refused ones stay refused."""
    x = most(ng, "uint64")
    for _ in range(300):
        assert (x.view(3, 1) * x)[2, 2].item() == 1
        assert x.sort(descending=True).values.tolist() == sorted(x.tolist(), reverse=True)
        with pytest.raises(NotImplementedError, match='"argmax_cpu" not implemented for \'UInt64\''):
            x.argmax(0)


def test_tables():
    """Every name in the tables is that of an op or of a function that makes tensors."""
    made = {"arange", "eye", "linspace", "logspace", "range", "setitem"}
    for name in {*barebones.KERNELS, *barebones.RESULTS} - made:
        assert name in ng.core.registry.REGISTRY, name


def test_layers_keep_variables_from_outside():
    """Whoever looks at the frame of a layered function (pytest, a debugger) finds its variables."""
    outside = 3

    def own(x):
        return x + outside

    def wrap(call):
        def layer(x):
            return sys._getframe(1).f_locals, call(x)
        return layer
    layers.add(own, "profiler", wrap)
    layers.switch(own, "profiler", True)
    assert own(1) == ({"x": 1, "outside": 3}, 4)
    layers.switch(own, "profiler", False)
    assert own(1) == 4


@pytest.mark.parametrize("name", ["quint8", "qint8", "qint32", "quint4x2"])
def test_absent(name):
    with pytest.raises(AttributeError, match=name):
        getattr(ng, name)
