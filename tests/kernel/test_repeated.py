"""Large fills and copies by the processor's own instructions: every dtype, ends that are no whole words, and without them."""
import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import copying
from numbagrad.kernel import emit, repeated

DTYPES = [ng.float32, ng.float64, ng.float16, ng.bfloat16, ng.int8, ng.uint8, ng.int16, ng.int32, ng.int64, ng.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [1, 0, 3, -2, 1.5])
def test_every_element_and_no_other(dtype, value):
    if dtype is ng.bool and value not in (0, 1) or dtype is ng.uint8 and value < 0:
        pytest.skip("no such value")
    n = 2 * repeated.LEAST // dtype.itemsize + 13
    for first, last in ((0, n), (1, n - 1), (5, n - 4)):
        t = ng.zeros(n, dtype=dtype) if value else ng.ones(n, dtype=dtype)
        t[first:last] = value
        inside, outside = t[first:last], ng.cat([t[:first], t[last:]])
        assert bool((inside == ng.tensor(value).to(dtype)).all())
        assert bool((outside == (0 if value else 1)).all())


def test_a_nan_keeps_its_bits_and_zero_its_sign():
    n = repeated.LEAST
    assert np.isnan(ng.full((n,), float("nan")).numpy()).all()
    assert np.signbit(ng.full((n,), -0.0).numpy()).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_on_threads(threads):
    before = ng.get_num_threads()
    ng.set_num_threads(threads)
    try:
        assert bool((ng.full((3, repeated.LEAST + 5), 2.5) == 2.5).all())
    finally:
        ng.set_num_threads(before)


def test_a_processor_without_it_gets_a_loop(monkeypatch):
    monkeypatch.setattr(repeated, "possible", lambda: False)
    assert "repeat_" not in copying.FILL.source("f4", (), ("f4",))[0]
    fill = emit.Pointwise("fill", (), ("value",), copying.FILL.outputs)
    a = np.zeros(repeated.LEAST, np.float32)
    fill.native("f4", (), ("f4",)).entry(a.ctypes.data, 2.5, 3, a.size - 1)
    assert (a[3:-1] == 2.5).all()
    assert not a[:3].any()
    assert a[-1] == 0


@pytest.mark.parametrize("dtype", [*DTYPES, ng.complex64, ng.complex128], ids=str)
def test_copies_of_every_element_and_no_other(dtype):
    n = 2 * repeated.LEAST_COPY // dtype.itemsize + 13
    source = ng.tensor(np.random.default_rng(n).integers(0, 2, n)).to(dtype)
    for first, last in ((0, n), (1, n - 1), (5, n - 4)):
        target = ng.full((n,), 1, dtype=dtype)
        target[first:last].copy_(source[first:last])
        assert ng.equal(target[first:last], source[first:last])
        assert bool((ng.cat([target[:first], target[last:]]) == 1).all())
        assert ng.equal(source[first:last].clone(), source[first:last])


@pytest.mark.parametrize("behind", [0, 4, 16, 60, 64, 1024, 4095 - 4095 % 4])
def test_copies_wherever_the_target_lies_in_its_page(behind):
    n = repeated.LEAST_COPY // 4
    memory = np.arange(3 * n, dtype=np.float32)
    at = (-memory.ctypes.data % 4096) // 4
    step = n + (-n % 1024) + behind // 4
    want = memory.copy()
    want[at + step:at + step + n] = memory[at:at + n]
    entry = copying.COPY.native("f4", ("f4",), ("f4",)).entry
    entry(memory.ctypes.data + 4 * at, memory.ctypes.data + 4 * (at + step), 0, n)
    assert np.array_equal(memory, want)


def test_no_copying_instruction_without_it(monkeypatch):
    assert repeated.possible() == ("move_" in copying.COPY.source("f4", ("f4",), ("f4",))[0])
    assert "move_" not in copying.COPY.source("f4", ("f4",), ("f8",))[0]
    monkeypatch.setattr(repeated, "possible", lambda: False)
    assert "move_" not in copying.COPY.source("f4", ("f4",), ("f4",))[0]
