"""Random numbers at the array level: known answers of PyTorch 2.13, direct comparison with it, states, errors.

Half types are compared by their uint16 storage.
"""

import copy
import hashlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from numbagrad import random as ng_random
from numbagrad.kernel import categories, mt19937, philox, rng

HALF = ("float16", "bfloat16")
FLOATS = ("float32", "float64", *HALF)


def empty(n, dtype):
    return np.empty(n, np.uint16 if dtype in HALF else dtype)


def draw(gen, name, n, dtype, *args, **kwargs):
    out = empty(n, dtype)
    getattr(rng, "fill_" + name)(gen, out, *args, dtype=dtype, **kwargs)
    return out


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------- known answers
# (function, arguments, dtype, size, PyTorch's values after manual_seed(0))
KNOWN = [
    ("uniform", (), "float32", 3, [0.49625658988952637, 0.7682217955589294, 0.08847743272781372]),
    ("uniform", (), "float64", 3, [0.9700530018065531, 0.707819864399788, 0.45938294312745087]),
    ("uniform", (), "float16", 3, [14321, 14885, 11690]),
    ("uniform", (), "bfloat16", 3, [16126, 16197, 15797]),
    ("uniform", (-1.5, 2.5), "float32", 3, [0.48502635955810547, 1.5728871822357178, -1.1460902690887451]),
    ("normal", (), "float32", 5, [1.5409960746765137, -0.293428897857666, -2.1787893772125244, 0.5684312582015991,
     -1.0845223665237427]),
    ("normal", (), "float64", 5, [1.5409961082440433, -0.2934289057609464, -2.1787893820745574, 0.5684312772806678,
     -1.084522342424021]),
    ("normal", (), "float16", 5, [15914, 46258, 49244, 14476, 48215]),
    ("normal", (), "float32", 16, [-1.1258398294448853, -1.152360200881958, -0.2505785822868347,
     -0.4338788092136383, 0.8487103581428528, 0.6920091509819031, -0.31601276993751526, -2.1152193546295166,
     0.32227492332458496, -1.2633347511291504, 0.34998318552970886, 0.30813392996788025, 0.11984150856733322,
     1.237657904624939, 1.1167771816253662, -0.2472781538963318]),
    ("normal", (1.0, 2.0), "float64", 16, [-3.620823600468352, 0.2534982774844714, -1.1216333570925725,
     2.9990187095623524, -0.7680500091665305, -1.5510938604296105, -0.24644915973215809, -0.7328832038251545,
     -1.5912542806555714, 4.0472632462127, 1.6473211329967477, 5.035452062972217, 3.2714846800427013,
     -1.4537626780021662, 1.1427769424102339, 1.6760348061014756]),
    ("normal", (), "bfloat16", 16, [49040, 49044, 48768, 48862, 16217, 16177, 48802, 49159, 16037, 49058, 16051,
     16030, 15861, 16286, 16271, 48765]),
    ("exponential", (2.0,), "float32", 3, [1.754163146018982, 0.6151923537254333, 0.3075220584869385]),
    ("exponential", (2.0,), "float64", 3, [1.754163093353821, 0.6151923820898384, 0.30752204694700574]),
    ("cauchy", (1.0, 2.0), "float64", 3, [22.195458653364593, 2.5295345192117997, 0.7434013158336519]),
    ("log_normal", (0.5, 0.25), "float64", 3, [2.4235878553037287, 1.5321052554493706, 0.9562868625441218]),
    ("geometric", (0.25,), "int64", 8, [1, 2, 3, 1, 2, 1, 6, 4]),
    ("bernoulli_scalar", (0.3,), "bool", 12, [False, False, False, False, False, False, True, False, False, True,
     False, True]),
    ("randint", (0, 10), "int64", 10, [4, 9, 3, 0, 3, 9, 7, 3, 7, 3]),
    ("randint", (-5, 1099511627776), "int64", 3, [741234585336, 506077272957, 291397093751]),
    ("randint", (0, 256), "uint8", 6, [172, 47, 117, 192, 67, 251]),
    ("random", (), "int64", 3, [900450186894289455, 3969543146641149120, 1895649597198586619]),
    ("random", (), "float32", 3, [8325664.0, 12888472.0, 1484222.0]),
    ("random", (), "bool", 8, [False, True, True, False, True, True, True, True]),
]


@pytest.mark.parametrize("name, args, dtype, n, expected", KNOWN)
def test_known_answers(name, args, dtype, n, expected):
    got = draw(rng.MT19937(0), name, n, dtype, *args)
    expected = np.array(expected, got.dtype)
    if dtype == "float64" and name != "uniform":
        # log, sin and cos come from the platform's C library, which need not round alike everywhere.
        np.testing.assert_array_max_ulp(got, expected, maxulp=4)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("seed, expected", [
    (0, [75434668, 130329135, 118924917, 2215104]),
    (1, [46265381, 122126571, 6762380, 112989256]),
    (42, [132242534, 65682867, 56755036, 116757774]),
    (2 ** 32 + 1, [46265381, 122126571, 6762380, 112989256]),
    (2 ** 40 + 7, [59306159, 36889796, 128500249, 27798006]),
    (-1, [16673187, 76693794, 26340364, 830535]),
])
@pytest.mark.parametrize("few", [0, 1 << 60], ids=["kernel", "python"])
def test_seeds(seed, expected, few, monkeypatch):
    monkeypatch.setattr(mt19937, "FEW", few)
    gen = ng_random.Generator().manual_seed(seed)
    assert draw(gen.engine, "randint", 4, "int64", 0, 1 << 27).tolist() == expected
    assert gen.initial_seed() == seed % (1 << 64)


def test_many_streams_begin_in_a_kernel():
    """A solver of stochastic equations seeds a generator for each number that it draws: 0.4 ms each in Python alone."""
    while mt19937._seeded[0] <= mt19937.FEW:
        ng_random.Generator()
    mt19937._first.cache_clear()
    for seed in (0, 7, 2 ** 31, 2 ** 32 - 1):
        gen = ng_random.Generator().manual_seed(seed)
        assert gen.engine.mt.tolist() == mt19937._first.__wrapped__(seed).tolist()
    assert not mt19937._first.cache_info().misses


def test_fresh_generator_has_the_default_seed():
    got = draw(ng_random.Generator().engine, "uniform", 3, "float32")
    assert got.tolist() == [0.267295241355896, 0.8725283145904541, 0.3352888226509094]


@pytest.mark.parametrize("name, dtype, expected", [
    ("uniform", "float32", "bfa5d9b429aad04d"), ("uniform", "float64", "8ef71462ed0d7d4b"),
    ("uniform", "float16", "4862b50544d10534"), ("uniform", "bfloat16", "8fadd942acb35cf6"),
    ("normal", "float32", "9b0387fcc2644f1f"), ("normal", "float16", "9404de4c95d3b3cf"),
    ("normal", "bfloat16", "7b2efb163670efe2"), ("randperm", "int64", "ce140e88f775d7c7"),
])
def test_known_answers_of_a_long_array(name, dtype, expected):
    assert digest(draw(rng.MT19937(0), name, 5003, dtype)) == expected


def test_small_permutation():
    assert draw(rng.MT19937(0), "randperm", 10, "int64").tolist() == [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]


def test_bernoulli_of_an_array():
    p = np.linspace(0, 1, 12)
    got = empty(12, "int64")
    rng.fill_bernoulli_tensor(rng.MT19937(0), got, p.astype(np.float32))
    assert got.tolist() == [0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1]
    gen = rng.MT19937(0)
    gen.raw(12)
    rng.fill_bernoulli_tensor(gen, got, p)
    assert got.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_multinomial():
    gen = rng.MT19937(0)
    weights = np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    assert categories.multinomial(gen, weights, 3).tolist() == [[2, 1, 3], [2, 0, 3]]
    assert categories.multinomial(gen, weights, 5, True).tolist() == [[2, 1, 2, 1, 2], [1, 1, 1, 1, 0]]
    assert categories.multinomial(gen, weights, 1, True).tolist() == [[2], [0]]


# ---------------------------------------------------------------------------------------------------- the generator
def test_ten_thousandth_draw():
    # The value that the C++ standard demands of std::mt19937, whose default seed is 5489.
    assert int(rng.MT19937(5489).raw(10000)[-1]) == 4123659995


def test_raw_draws_are_numpys():
    gen = rng.MT19937(7)
    got = np.concatenate([gen.raw(n) for n in (1, 622, 1, 1, 623, 624, 625, 3000)])
    expected = np.frombuffer(np.random.RandomState(7).bytes(4 * got.size), "<u4")
    np.testing.assert_array_equal(got, expected)


def test_small_draws_continue_one_stream():
    whole = draw(rng.MT19937(3), "uniform", 2000, "float32")
    gen = rng.MT19937(3)
    parts = [draw(gen, "uniform", n, "float32") for n in (1, 0, 623, 1, 1024, 351)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_state_layout():
    gen = rng.MT19937(0)
    draw(gen, "normal", 7, "float32")
    draw(gen, "uniform", 5003, "float32")
    state = gen.get_state()
    assert state.dtype == np.uint8 and state.shape == (5056,)
    assert digest(state) == "6a484d72abc7bf96"


def test_state_round_trip_keeps_the_second_normal():
    gen = rng.MT19937(12)
    draw(gen, "normal", 3, "float64")
    other = rng.MT19937(99)
    other.set_state(gen.get_state())
    np.testing.assert_array_equal(draw(other, "normal", 5, "float64"), draw(gen, "normal", 5, "float64"))
    assert other.initial_seed == 12
    gen.seed(12)
    assert draw(gen, "normal", 1, "float64") == draw(rng.MT19937(12), "normal", 1, "float64")


@pytest.mark.parametrize("spoil", [
    lambda s: s["seeded"].fill(0), lambda s: s["left"].fill(0), lambda s: s["left"].fill(625),
    lambda s: s["next"].fill(625), lambda s: (s["left"].fill(600), s["next"].fill(100)),
])
def test_damaged_state_is_refused(spoil):
    gen = rng.MT19937(5)
    gen.raw(10)
    before = gen.get_state()
    damaged = before.copy()
    spoil(damaged.view(mt19937.STATE))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        gen.set_state(damaged)
    with pytest.raises(RuntimeError, match="Expected a CPUGeneratorImplState of size 5056 but found the input RNG "
                                           "state size to be 5055"):
        gen.set_state(before[:-1])
    with pytest.raises(TypeError, match="RNG state must be a torch.ByteTensor"):
        gen.set_state(before.astype(np.int32))
    np.testing.assert_array_equal(gen.get_state(), before)


def test_threads_share_a_stream_without_tearing_it():
    gen = rng.MT19937(1)
    rows, start = [], threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(25):
            rows.append(draw(gen, "uniform", 5000, "float32").tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = draw(rng.MT19937(1), "uniform", 100 * 5000, "float32").reshape(100, 5000)
    assert sorted(rows) == sorted(row.tobytes() for row in whole)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the platform has no fork")
def test_fork_while_another_thread_draws():
    code = """
import os, threading
from numbagrad import random
engine = random.default_generator.engine
held, done = threading.Event(), threading.Event()
def hold():
    with engine.lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    random.manual_seed(0)
    engine.get_state()
    os._exit(17)
done.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_numba_is_imported_by_the_first_draw_only():
    code = ("import sys; from numbagrad import random; from numbagrad.kernel import mt19937, philox, rng; "
            "random.manual_seed(3); assert 'numba' not in sys.modules; "
            "random.default_generator.engine.raw(1); assert 'numba' in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_long_permutations_take_the_inside_out_shuffle(monkeypatch):
    monkeypatch.setattr(rng, "WIDE_PERM", 100)
    n = 1500
    words = rng.MT19937(4).raw(2 * n).tolist()
    expected = []
    for i in range(n):
        k = ((words[2 * i] << 32) | words[2 * i + 1]) % (i + 1)
        expected.append(i)
        expected[i], expected[k] = expected[k], i
    assert draw(rng.MT19937(4), "randperm", n, "int64").tolist() == expected


# ---------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("name, dtype, args, kind, text", [
    ("uniform", "float32", (2, 1), RuntimeError,
     "uniform_ expects to return a [from, to) range, but found from=2 > to=1"),
    ("uniform", "float16", (0, 1e6), RuntimeError, "to is out of bounds for c10::Half"),
    ("uniform", "float32", (-3e38, 3e38), RuntimeError,
     "uniform_ expects to-from <= std::numeric_limits<Float>::max(), but found to=3e+38 and from=-3e+38 which result "
     "in to-from to exceed the limit"),
    ("uniform", "int64", (), NotImplementedError, "\"check_uniform_bounds\" not implemented for 'Long'"),
    ("normal", "int64", (), NotImplementedError, "\"normal_kernel_cpu\" not implemented for 'Long'"),
    ("normal", "float32", (0, -1), RuntimeError, "normal expects std >= 0.0, but found std -1"),
    ("log_normal", "float32", (0, 0), RuntimeError, "log_normal_ expects std > 0.0, but found std=0"),
    ("exponential", "float32", (0,), RuntimeError, "exponential_ expects lambda > 0.0, but found lambda=0"),
    ("exponential", "int32", (1,), RuntimeError, "Exponential distribution is a continuous probability distribution. "
     "dtype must be a floating point but you specified Int"),
    ("cauchy", "float32", (0, 0), RuntimeError, "cauchy_ expects sigma > 0.0, but found sigma=0"),
    ("cauchy", "int32", (0, 1), RuntimeError, "Cauchy distribution is a continuous probability distribution. dtype "
     "must be a floating point but you specified int"),
    ("geometric", "float32", (0,), RuntimeError, "geometric_ expects p to be in (0, 1), but got p=0"),
    ("geometric", "bool", (0.5,), NotImplementedError, "\"geometric_cpu\" not implemented for 'Bool'"),
    ("bernoulli_scalar", "float32", (2,), RuntimeError, "bernoulli_ expects p to be in [0, 1], but got p=2"),
    ("randint", "int64", (5, 5), RuntimeError,
     "random_ expects 'from' to be less than 'to', but got from=5 >= to=5"),
    ("randint", "uint8", (0, 257), RuntimeError, "to - 1 is out of bounds for unsigned char"),
    ("randint", "uint8", (-1, 25), RuntimeError, "from is out of bounds for unsigned char"),
    ("randint", "float16", (0, 2 ** 17), RuntimeError, "to - 1 is out of bounds for c10::Half"),
])
def test_bad_arguments(name, dtype, args, kind, text):
    gen = rng.MT19937(0)
    out = empty(20, dtype)
    out[:] = 1
    before, state = out.copy(), gen.get_state()
    with pytest.raises(kind) as caught:
        getattr(rng, "fill_" + name)(gen, out, *args, dtype=dtype)
    assert str(caught.value) == text
    np.testing.assert_array_equal(out, before)
    np.testing.assert_array_equal(gen.get_state(), state)


def test_integers_beyond_exact_floats_warn():
    with pytest.warns(UserWarning, match=r"to - 1 is out of bounds \[-\(2\^11\), 2\^11\]. Due to precision"):
        draw(rng.MT19937(0), "randint", 3, "float16", 0, 4000)


@pytest.mark.parametrize("probs, n, replacement, text", [
    ([[0, 0]], 1, False, "invalid multinomial distribution (sum of probabilities <= 0)"),
    ([[-1, 2]], 2, True, "probability tensor contains either `inf`, `nan` or element < 0"),
    ([[np.nan, 2]], 1, False, "probability tensor contains either `inf`, `nan` or element < 0"),
    ([[np.inf, 2]], 2, True, "probability tensor contains either `inf`, `nan` or element < 0"),
    ([[1, 2]], 3, False, "cannot sample n_sample > prob_dist.size(-1) samples without replacement"),
    ([[1, 2]], 0, True, "cannot sample n_sample <= 0 samples"),
])
def test_bad_weights(probs, n, replacement, text):
    gen = rng.MT19937(0)
    state = gen.get_state()
    with pytest.raises(RuntimeError) as caught:
        categories.multinomial(gen, np.array(probs, np.float32), n, replacement)
    assert str(caught.value) == text
    np.testing.assert_array_equal(gen.get_state(), state)


def test_bad_probabilities_and_arrays():
    gen = rng.MT19937(0)
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(RuntimeError, match="Expected p_in >= 0 && p_in <= 1 to be true, but got false"):
            rng.fill_bernoulli_tensor(gen, np.empty(2), np.array([0.5, bad]))
    with pytest.raises(ValueError, match="contiguous 1-D"):
        rng.fill_uniform(gen, np.empty((2, 2)))
    with pytest.raises(ValueError, match="contiguous 1-D"):
        rng.fill_uniform(gen, np.empty(8)[::2])
    with pytest.raises(ValueError, match="float32 cannot hold float16"):
        rng.fill_uniform(gen, np.empty(8, np.float32), dtype="float16")


# ---------------------------------------------------------------------------------------------------- Generator
@pytest.mark.parametrize("seed, kind, text", [
    (1.5, RuntimeError, "manual_seed expected a long, but got float"),
    (True, RuntimeError, "manual_seed expected a long, but got bool"),
    ("a", RuntimeError, "manual_seed expected a long, but got str"),
    (None, RuntimeError, "manual_seed expected a long, but got NoneType"),
    (2 ** 64, ValueError, "Overflow when unpacking long long"),
    (-2 ** 63 - 1, ValueError, "Overflow when unpacking long long"),
])
def test_bad_seeds(seed, kind, text):
    gen = ng_random.Generator()
    with pytest.raises(kind) as caught:
        gen.manual_seed(seed)
    assert str(caught.value) == text
    assert gen.initial_seed() == 67280421310721


def test_generator():
    gen = ng_random.Generator(device="cpu")
    assert repr(gen.device) == "device(type='cpu')"
    assert gen.manual_seed(np.int32(4)) is gen and gen.initial_seed() == 4
    draw(gen.engine, "normal", 3, "float32")
    copies = [copy.deepcopy(gen), pickle.loads(pickle.dumps(gen)), gen.clone_state()]
    expected = draw(gen.engine, "normal", 40, "float32")
    for other in copies:
        assert other.initial_seed() == 4
        np.testing.assert_array_equal(draw(other.engine, "normal", 40, "float32"), expected)
    assert gen.seed() == gen.initial_seed() != gen.seed()
    for use in (gen.get_offset, lambda: gen.set_offset(1)):
        with pytest.raises(RuntimeError, match="CPU Generator does not use offset"):
            use()
    with pytest.raises(RuntimeError):
        ng_random.Generator("nowhere")
    with pytest.raises(TypeError, match="expected a Generator, but got int"):
        ng_random.engine_of(3)


def test_default_generator():
    assert ng_random.manual_seed(1.5) is ng_random.default_generator  # as in PyTorch, by way of int()
    assert ng_random.initial_seed() == 1
    assert ng_random.engine_of() is ng_random.default_generator.engine
    assert ng_random.seed() == ng_random.initial_seed()


@pytest.mark.parametrize("arguments", [{}, {"devices": []}, {"device_type": "cpu"}, {"devices": iter(())}])
def test_fork_rng_restores(arguments):
    engine = ng_random.engine_of()
    state = engine.get_state()
    with pytest.raises(KeyError), ng_random.fork_rng(**arguments):
        ng_random.manual_seed(1)
        engine.raw(3)
        raise KeyError
    np.testing.assert_array_equal(engine.get_state(), state)


def test_fork_rng_when_it_does_nothing():
    engine = ng_random.engine_of()
    for arguments in ({"enabled": False}, {"device_type": "meta"}):
        state = engine.get_state()
        with ng_random.fork_rng(**arguments):
            engine.raw(3)
        assert not np.array_equal(engine.get_state(), state)
    with pytest.raises(RuntimeError, match="torch has no module of `nowhere`"), ng_random.fork_rng(
            device_type="nowhere"):
        pass


def test_state_tensors():
    import numbagrad as ng
    gen = ng_random.Generator().manual_seed(8)
    state = gen.get_state()
    assert state.dtype is ng.uint8 and tuple(state.shape) == (5056,)
    first = draw(gen.engine, "normal", 7, "float32")
    gen.set_state(state)
    np.testing.assert_array_equal(draw(gen.engine, "normal", 7, "float32"), first)
    with pytest.raises(TypeError, match="expected a torch.ByteTensor, but got int"):
        gen.set_state(3)
    with pytest.raises(TypeError, match="RNG state must be a torch.ByteTensor"):
        gen.set_state(ng.from_numpy(np.zeros(5056, np.float32)))
    ng_random.set_rng_state(state)
    assert ng_random.initial_seed() == 8
    np.testing.assert_array_equal(ng_random.get_rng_state().numpy(), state.numpy())


# ---------------------------------------------------------------------------------------------------- Philox
# The known-answer vectors published with the Random123 library: counter, key, result.
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize("counter, key, expected", PHILOX)
def test_philox_known_answers(counter, key, expected):
    assert tuple(map(int, philox.philox4x32(*counter, *key))) == expected


def test_philox_compiled():
    import numba
    compiled = numba.njit(philox.philox4x32)
    for counter, key, expected in PHILOX:
        assert tuple(map(int, compiled(*map(np.uint32, counter + key)))) == expected


