"""Operands of any strides: the walk over blocks gives what NumPy gives, for every geometry, size and number of threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.kernel import emit, guard, jit, strided

DTYPES = [ng.bool, ng.uint8, ng.int16, ng.int32, ng.int64, ng.float16, ng.bfloat16, ng.float32, ng.float64, ng.complex64,
          ng.complex128]


def shape_of(r):
    """One to five dimensions: short ones, ones around the sizes of blocks, and of one element."""
    dims = int(r.integers(1, 6))
    shape = [int(r.choice([1, 2, 3, 5, 7])) for _ in range(dims)]
    shape[int(r.integers(dims))] = int(r.choice([1, 8, 17, 63, 64, 65, 255, 256, 300, 1024, 1025, 2500]))
    if np.prod(shape) > 40_000:
        shape = [min(s, 300) for s in shape[:3]]
    return tuple(shape)


def view_of(r, shape, dtype):
    """A tensor of a shape whose memory is broadcast, permuted, cut out of a larger one, with steps, or row-major."""
    order = [int(k) for k in r.permutation(len(shape))]
    broad = [s > 1 and r.random() < 0.25 for s in shape]
    base, cut = [], []
    for k in order:
        size, step, before = 1 if broad[k] else shape[k], int(r.choice([1, 1, 2, 3])), int(r.choice([0, 0, 1]))
        base.append(before + size * step + int(r.choice([0, 0, 2])))
        cut.append(slice(before, before + size * step, step))
    values = r.integers(0, 2 if dtype is ng.bool else 100, base)
    t = ng.tensor(values.tolist() if dtype is ng.bool else values, dtype=dtype)[tuple(cut)]
    return t.permute([order.index(k) for k in range(len(shape))]).expand(shape)


def row_major(t):
    """The same values in a memory of their own, by NumPy."""
    a = np.ascontiguousarray(t.float().numpy() if t.dtype is ng.bfloat16 else t.numpy())
    return ng.from_numpy(a).to(t.dtype)


def equal(a, b):
    assert a.dtype is b.dtype and a.shape == b.shape
    if a.dtype is ng.bfloat16:
        a, b = a.float(), b.float()
    np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(60))
def test_any_geometry(seed, threads, monkeypatch):
    """Sums, choices, comparisons, copies and conversions; results are exact, so they are compared with ==."""
    from numbagrad.core import launch
    if threads == 2:
        monkeypatch.setattr(launch, "LIMIT", [64])
        before = ng.get_num_threads()
        ng.set_num_threads(2)
    r = np.random.default_rng(seed)
    try:
        for _ in range(4):
            shape, dtype = shape_of(r), DTYPES[int(r.integers(len(DTYPES)))]
            x, y, condition = (view_of(r, shape, d) for d in (dtype, dtype, ng.bool))
            plain = [row_major(t) for t in (x, y, condition)]
            equal(ng.add(x, y), ng.add(*plain[:2]))
            equal(ng.where(condition, x, y), ng.where(plain[2], *plain[:2]))
            equal(ng.eq(x, y), ng.eq(*plain[:2]))
            equal(x.clone(memory_format=ng.contiguous_format), plain[0])
            wider = ng.complex128 if dtype.is_complex else ng.float64
            equal(x.to(wider), plain[0].to(wider))
    finally:
        if threads == 2:
            ng.set_num_threads(before)


@pytest.mark.parametrize("seed", range(40))
def test_targets_of_any_geometry(seed):
    """In place, through views that do not overlap themselves: what is between the elements stays as it was."""
    r = np.random.default_rng(seed)
    dims = int(r.integers(1, 4))
    base = ng.tensor(r.integers(0, 100, [int(r.choice([2, 3, 40, 70])) for _ in range(dims)]), dtype=ng.float32)
    expected = base.numpy().copy()
    cut = tuple(slice(int(r.integers(2)), None, int(r.choice([1, 2, 3]))) for _ in range(dims))
    order = [int(k) for k in r.permutation(dims)]
    target, mirror = base[cut].permute(order), expected[cut].transpose(order)
    other = view_of(r, tuple(target.shape), ng.float32)
    for name in ("add_", "mul_"):
        getattr(target, name)(other)
        mirror[...] = mirror + other.numpy() if name == "add_" else mirror * other.numpy()
    target.sqrt_()
    mirror[...] = np.sqrt(mirror)
    target.copy_(other + 1)
    mirror[...] = other.numpy() + 1
    np.testing.assert_array_equal(base.numpy(), expected)


def test_rows_that_are_written_while_they_are_read():
    """An output over an input's memory in a row goes through a buffer: exact all the same."""
    x = ng.arange(3 * 1000, dtype=ng.float32).reshape(3, 1000)
    b = ng.arange(1000, dtype=ng.float32)
    expected = x.numpy() * 2 + b.numpy()
    x.mul_(ng.full((3, 1), 2.0)).add_(b)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_numbers_reach_the_kernel():
    x = ng.arange(24.0, dtype=ng.float64).reshape(4, 6).t()
    np.testing.assert_array_equal(ng.clamp(x, 3.5, 7.25).numpy(), np.clip(x.numpy(), 3.5, 7.25))
    z = ng.complex(x, -x)
    np.testing.assert_array_equal((z * (2 - 3j)).numpy(), z.numpy() * (2 - 3j))
    np.testing.assert_array_equal((x.long() // 5).numpy(), x.numpy().astype(int) // 5)


def test_no_op_is_compiled_a_second_time():
    """For other strides an op's loop is the one it has; constant operands of long rows have one more, unless it is costly."""
    from numbagrad.core.registry import REGISTRY
    for name, more in (("add", 1), ("pow", 0)):
        op = REGISTRY[name]
        loop = emit.Pointwise(name + "_tried", op.tensors, (), (op.expression,))
        codes = ("f4", "f4"), ("f4",)
        first = loop.native("f4", *codes)
        assert loop.walked("f4", *codes, 0)[2][1] == first.address and len(loop.made) == 1
        loop.walked("f4", *codes, 2)
        assert len(loop.made) == 1 + more


def test_copies_need_no_kernel():
    loop = emit.Pointwise("copied", ("x",), (), (emit.expr.var("x"),))
    assert loop.walked("f4", ("f4",), ("f4",), 0)[2] == (0, 0) and not loop.made
    loop.walked("f4", ("f4",), ("f8",), 0)
    assert loop.made


def test_launches_do_not_wait_for_the_compiler():
    """What a launch asks for is made once; later launches do not come to the lock that all compilation takes (and what
    surrounds it cost them 50 us each)."""
    x = ng.ones(3, 4)
    launches = [lambda: x.t().exp(), lambda: jit.through("iii"), strided.walk, lambda: strided.rows("ii", 2),
                lambda: strided.enter("ii"), lambda: strided.move(2)]
    for launch in launches:
        launch()
    later = threading.Thread(target=lambda: [launch() for launch in launches], daemon=True)
    with guard.LOCK:
        later.start()
        later.join(20)
    assert not later.is_alive()


def test_too_many_operands_are_refused():
    with pytest.raises(NotImplementedError, match="13 operands"):
        strided.operands(("f4",) * 12, ("f4",), 0)


@pytest.mark.parametrize("count", [64, 255, 256, 257, 511, 512, 700, 1100, 4999])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_are_copied_in_whole_vectors_and_their_rest(dtype, count):
    a = np.random.default_rng(count).integers(0, 100, (5, count + 9)).astype(dtype)
    t = ng.tensor(a)
    for first in (0, 1, 9):
        part = a[:, first:first + count]
        assert np.array_equal(t[:, first:first + count].contiguous().numpy(), part)
        assert np.array_equal(t.flip(0)[::2, first:first + count].contiguous().numpy(), part[::-1][::2])
        into, want = ng.full(t.shape, 7, dtype=t.dtype), np.full(a.shape, 7, dtype)
        into[:, first:first + count], want[:, first:first + count] = t[:, first:first + count], part
        assert np.array_equal(into.numpy(), want)
