"""CUDA kernels compiled down to machine code without a GPU, and what that output must look like.

Runs where the CUDA packages are installed (``pip install -e ".[cuda]" pytest``). numba-cuda asks the current device for
its capability when a kernel calls a device function; the fixture answers in its place, which is the one patch.
"""

import importlib.util
import os
import re

import pytest

import numbagrad as ng  # noqa: F401
from numbagrad.base import dtypes as dt
from numbagrad.extend import REGISTRY
from numbagrad.kernel import emit as loops
from numbagrad.kernel import expr, scalars

MISSING = [p for p in ("numba_cuda", "cuda", "nvidia") if importlib.util.find_spec(p) is None]
if MISSING:
    pytest.skip(f"OFFLINE CUDA COMPILATION NOT TESTED: {', '.join(MISSING)} not installed (pip install -e \".[cuda]\")",
                allow_module_level=True)
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("OFFLINE CUDA COMPILATION NOT TESTED: this process runs the simulator", allow_module_level=True)

from numbagrad.kernel.cuda import emit, launch, reduce, shim  # noqa: E402
from numbagrad.kernel.cuda.device import encode  # noqa: E402

AMPERE, HOPPER = (8, 0), (9, 0)
ELEMENTWISE = [n for n, op in REGISTRY.items()
               if op.kind == "elementwise" and op.accepts not in ("int", "integer")]
REDUCTIONS = [n for n, op in REGISTRY.items() if op.kind == "reduction"]
# Scalar functions whose float32 form works in float64 inside: they buy accuracy with a few double operations.
WIDE = {"pow", "sin", "cos", "tan", "asinh", "acosh", "atanh", "erfinv", "erfc", "lgamma", "digamma",
        "trigamma", "i0", "i1", "i0e", "i1e", *scalars.FUNCTIONS} - {"gcd", "lcm"}
# Those with loops or a call may use a little of the stack (and save a register around the call).
STACK = {"lgamma", "digamma", *scalars.FUNCTIONS}
SHARED_LIMIT = 48 << 10


class _Device:
    compute_capability = HOPPER


@pytest.fixture(autouse=True)
def device(monkeypatch):
    from numba.cuda import dispatcher
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: _Device)


def resources(text, cc):
    """(registers, spilled bytes, stack bytes, shared bytes) of PTX text, from the linker's report."""
    from cuda.core import Linker, LinkerOptions, ObjectCode
    options = LinkerOptions(arch=shim.architecture(cc), verbose=True, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=options)
    code = linker.link("cubin").code
    log = linker.get_info_log()
    assert code[:4] == b"\x7fELF"

    def find(pattern):
        found = re.findall(pattern, log)
        assert found, log
        return max(map(int, found))
    return (find(r"[Uu]sed (\d+) registers"), find(r"(\d+) bytes spill stores"), find(r"(\d+) bytes stack frame"),
            find(r"(\d+) bytes smem"))


def functions(loop, code="f4"):
    return set(expr.lines(loop.outputs, code)[3])


def lint(source, cc, wide, stack=False, target=None):
    """Compile to a cubin and check it; returns the PTX."""
    text = shim.ptx(source, cc)
    assert f".target sm_{cc[0]}{cc[1]}" in text
    assert (".f64" in text) == wide, f"{source.name}: float64 instructions {'expected' if wide else 'not expected'}"
    registers, spills, frame, shared = resources(text, cc)
    assert (stack or spills == 0) and registers <= 128, f"{source.name}: {registers} registers, {spills} bytes spilled"
    assert stack or (frame == 0 and ".local" not in text), f"{source.name}: {frame} bytes of stack"
    assert shared <= SHARED_LIMIT
    return text


def pointwise(loop, code, out_code=None, dims=0, small=True):
    return launch.pointwise_source(loop, dt.BY_CODE[code].compute, (code,) * len(loop.inputs),
                                   (out_code or code,) * len(loop.outputs), dims, small)


def forward(name):
    op = REGISTRY[name]
    return op, op.form("t" * len(op.tensors))


def test_the_packages_are_the_pinned_ones():
    """The versions that were tried; another one may move what the fixture patches."""
    from importlib.metadata import version
    assert version("numba-cuda").startswith("0.30.")
    for package in ("nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-nvjitlink"):
        assert version(package).startswith("13.0."), package


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_float32(name):
    """Forward and backward of every op for sm_90a: no float64 that was not meant, no spills, no stack."""
    op, form = forward(name)
    kernels = [(form.forward, "b1" if op.result == "bool" else "f4")]
    if form.differentiable:
        kernel, _, computed, _, _ = form.backward_kernel((1 << len(form.tensors)) - 1)
        if computed:
            kernels.append((kernel, "f4"))
    for loop, out_code in kernels:
        used = functions(loop)
        lint(pointwise(loop, "f4", out_code), HOPPER, bool(used & WIDE), bool(used & STACK))


@pytest.mark.parametrize("name", ["add", "exp", "tanh", "gelu", "erf", "fmod", "lerp", "lt"])
def test_elementwise_ampere(name):
    op, form = forward(name)
    lint(pointwise(form.forward, "f4", "b1" if op.result == "bool" else "f4"), AMPERE, False)


@pytest.mark.parametrize("name", ["add", "exp", "tanh", "pow", "sin", "erf", "remainder"])
@pytest.mark.parametrize("code", ["f8", "f2", "bf"])
def test_other_floating_types(name, code):
    """float64 kernels, and half storage with float32 arithmetic."""
    _, form = forward(name)
    used = functions(form.forward, dt.BY_CODE[code].compute)
    # The digits of 2 / pi that a float64 argument selects come from a table.
    lint(pointwise(form.forward, code), HOPPER, code == "f8" or bool(used & WIDE), code == "f8" and name == "sin")


@pytest.mark.parametrize("name", ["add", "eq"])
@pytest.mark.parametrize("code", ["f2", "bf"])
def test_numbers_beside_half_types(name, code):
    """Numbers that are rounded to the dtype first."""
    op = REGISTRY[name]
    lint(pointwise(op.form("ts").forward, code, "b1" if op.result == "bool" else code), HOPPER, False)


@pytest.mark.parametrize("name", ["add", "mul", "eq", "floor_divide", "remainder", "pow", "bitwise_left_shift"])
@pytest.mark.parametrize("code", ["u1", "i4", "i8"])
def test_integers(name, code):
    op, form = forward(name)
    lint(pointwise(form.forward, code, "b1" if op.result == "bool" else code), HOPPER, False, stack=True)


@pytest.mark.parametrize("name", ["add", "mul", "exp", "div"])
@pytest.mark.parametrize("code", ["c8", "c16"])
def test_complex(name, code):
    _, form = forward(name)
    text = shim.ptx(pointwise(form.forward, code), HOPPER)
    assert resources(text, HOPPER)[1] == 0


@pytest.mark.parametrize("dims", [1, 2, 3, 5])
def test_strided(dims):
    """Index arithmetic divides in 32 bits, and in 64 only for large tensors."""
    _, form = forward("add")
    text = lint(pointwise(form.forward, "f4", dims=dims), HOPPER, False)
    assert not re.search(r"(div|rem)\.[us]64", text) and len(re.findall(r"div\.u32", text)) == dims - 1
    lint(pointwise(form.forward, "f4", dims=dims, small=False), HOPPER, False)


def test_loops_of_a_compiled_step():
    """What ng.compile fuses for the CPU is emitted for CUDA from the same expressions."""
    import numbagrad.nn.functional as F
    from numbagrad import nn
    ng.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 3), nn.Tanh())
    scale = ng.randn(3)
    opt = ng.optim.SGD(model.parameters(), lr=0.1)

    @ng.compile
    def step(x, y):
        opt.zero_grad()
        out = (model(x) * scale).sigmoid() * 2
        loss = F.mse_loss(out, y) + (out.exp() - out).mean()
        loss.backward()
        opt.step()
        return loss
    step(ng.randn(4, 6), ng.rand(4, 3))
    loops = step.loops()
    assert len(loops) >= 3 and any(len(loop.outputs) > 1 for loop, *_ in loops)
    for loop, compute, in_codes, out_codes, dims in loops:
        used = functions(loop)
        lint(launch.pointwise_source(loop, compute, in_codes, out_codes, dims, True), HOPPER, bool(used & WIDE),
             bool(used & STACK))


def test_numbers_arrive_in_their_width():
    """A float32 kernel takes its scalars as float32, so that not even the conversion is in float64."""
    op = REGISTRY["mul"]
    source = pointwise(op.form("ts").forward, "f4")
    assert ("other_s_", "f4") in source.params
    lint(source, HOPPER, False)


def test_the_lint_notices(monkeypatch):
    """A constant that promotes to float64 is found, and so is a missing declaration of a wide function."""
    x = expr.var("input")
    loop = loops.Pointwise("leak", ("input",), (), (x * 0.1 + x,))
    source = emit.pointwise(loop, "f4", ("f4",), ("f4",), 0, True)
    lint(source, HOPPER, False)
    source.body = tuple(line.replace("T_(0.1)", "0.1") for line in source.body)
    with pytest.raises(AssertionError, match="float64 instructions not expected"):
        lint(source, HOPPER, False)
    with pytest.raises(AssertionError, match="float64 instructions not expected"):
        lint(pointwise(forward("sin")[1].forward, "f4"), HOPPER, False)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("form", ["rows", "columns"])
def test_reductions(name, form):
    """Whole, first and last stages of every reduction for the dtypes it takes; both ways to merge a block."""
    op = REGISTRY[name]
    for code in ("f4", "f8", "bf", "i4", "c8"):
        d = dt.BY_CODE[code]
        if d.category < 2 and op.dtypes == "float" or d.category == 3 and name not in ("sum", "mean", "prod"):
            continue
        acc, out = op.accumulator(d), op.result_dtype(d).code
        stages = [(code, out, True, True)]
        if code == "f4":
            stages += [(code, acc, True, False), (acc, out, False, True)]
        for x, o, first, last in stages:
            for shuffles in ((True, False) if code == "f4" and form == "rows" else (True,)):
                source = reduce.source(op, form, x, o, acc, first, last, 256, shuffles)
                wide = "f8" in (x, o, acc) or acc == "c16"
                text = lint(source, HOPPER, wide, stack=not wide)
                assert ("shfl" in text) == (form == "rows" and shuffles and acc in reduce.SHUFFLES)
                assert ("bar.sync" in text) == (form == "rows") and not re.search(r"\b(atom|red)\.", text)
                if code == "f4" and first and last:
                    assert not re.search(r"(div|rem)\.[us]64", text)


def test_reduction_ampere():
    op = REGISTRY["sum"]
    lint(reduce.source(op, "rows", "f4", "f4", "f8", True, True, 256, True), AMPERE, True)


def test_cubins_are_cached(tmp_path, monkeypatch):
    """The second look-up reads the file; another architecture and another text are other files; damage is noticed."""
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path))
    _, form = forward("add")
    source = pointwise(form.forward, "f4")
    code, entry = shim.cubin(source, HOPPER)
    assert code[:4] == b"\x7fELF" and "loop_add" in entry
    compiled = []
    real = shim.ptx
    monkeypatch.setattr(shim, "ptx", lambda *a: compiled.append(a) or real(*a))
    assert shim.cubin(source, HOPPER) == (code, entry) and not compiled
    assert shim.cubin(source, AMPERE)[0] != code and len(compiled) == 1
    shim.cubin(pointwise(form.forward, "f8"), HOPPER)
    assert len(compiled) == 2
    for path in tmp_path.rglob("*.ngk"):
        path.write_bytes(path.read_bytes()[:-10])
    assert shim.cubin(source, HOPPER)[0][:4] == b"\x7fELF" and len(compiled) == 3


class _Driver:
    """Stands in for ``cuda.core`` where a driver would be called; everything before and after is real."""

    def __init__(self, real):
        self.launched, self.loaded, self.addresses = [], [], iter(range(1 << 20, 1 << 40, 1 << 20))
        outer = self

        class Device:
            device_id = 0
            name = "stub"
            default_stream = "stream"
            compute_capability = type("cc", (), {"major": 9, "minor": 0})
            properties = type("properties", (), {"multiprocessor_count": 132})

            def set_current(self):
                pass

            def sync(self):
                pass

            @property
            def memory_resource(self):
                return self

            def allocate(self, size, *, stream):
                return outer.Buffer(next(outer.addresses), size)

            @staticmethod
            def get_all_devices():
                return (Device(),)

        class ObjectCode:
            from_ptx = real.ObjectCode.from_ptx

            @staticmethod
            def from_cubin(code):
                assert code[:4] == b"\x7fELF"
                outer.loaded.append(code)
                return type("code", (), {"get_kernel": lambda self, name: name})()
        self.Device, self.ObjectCode = Device, ObjectCode

    class Buffer:
        def __init__(self, handle, size):
            self.handle, self.size, self.filled = handle, size, None

        @classmethod
        def from_handle(cls, ptr, size, owner=None):
            return cls(ptr, size)

        def fill(self, value, *, stream):
            self.filled = value

        def copy_from(self, src, *, stream):
            assert src.size == self.size

        copy_to = copy_from

    class LaunchConfig:
        def __init__(self, grid, block):
            self.grid, self.block = grid, block

    def launch(self, stream, config, kernel, *args):
        self.launched.append((config.grid, config.block, kernel, args))


@pytest.fixture
def driver(monkeypatch, tmp_path):
    import cuda.core
    stub = _Driver(cuda.core)
    for name in ("Device", "ObjectCode", "Buffer", "LaunchConfig", "launch"):
        monkeypatch.setattr(cuda.core, name, getattr(stub, name))
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(shim, "why_not", lambda: None)
    monkeypatch.setattr(launch, "_target", None)
    return stub


def test_launch_path(driver):
    """From ``x * 2 + y`` to the driver's launch call: arguments in order and width, one load per kernel."""
    import ctypes
    x = ng.ones(1000, device="cuda")
    before = len(driver.launched)
    y = x * 2.5
    grid, block, kernel, args = driver.launched[before]
    assert (grid, block) == (4, 256) and "loop_mul" in kernel
    assert args[:2] == (x.data_ptr(), y.data_ptr()) and type(args[0]) is int
    assert isinstance(args[2], ctypes.c_float) and args[2].value == 2.5
    assert args[3] == 1000 and len(args) == 4
    loads = len(driver.loaded)
    for _ in range(3):
        y = x * 2.5
    assert len(driver.loaded) == loads and len(driver.launched) == before + 4
    z = x.reshape(10, 100).t() + x.reshape(100, 10)
    grid, block, kernel, args = driver.launched[-1]
    # two inputs and an output; elements; the inner size; two strides for each operand
    assert args == (x._ptr, x._ptr, z._ptr, 1000, 10, 1, 100, 10, 1, 10, 1)


def test_reduction_launches(driver):
    """A long sum is cut into pieces for all multiprocessors and folded in a second launch."""
    x = ng.empty(1 << 22, device="cuda")
    s = x.sum()
    (grid, block, kernel, first), (last_grid, _, _, last) = driver.launched[-2:]
    pieces = first[7]
    assert block == 256 and grid == pieces == 512 and last_grid == 1 and "fold_sum" in kernel
    assert first[0] == x._ptr and last[0] == first[1] and last[1] == s._ptr and last[2] == pieces
    assert first[4] == last[4] == 1 << 22 and first[6] * pieces >= 1 << 22


def test_encode_refuses_nothing_it_cannot_pass():
    """Integers pass as integers whatever NumPy type they have; floats in the parameter's width."""
    import ctypes

    import numpy as np
    source = shim.Source("k", [("p", "*f4"), ("a", "f4"), ("b", "f8"), ("n", "u4")], [], {}, "")
    p, a, b, n = encode(source, [np.int64(16), 0.5, 0.25, np.int32(3)])
    assert type(p) is int and type(n) is int and (p, n) == (16, 3)
    assert type(a) is ctypes.c_float and type(b) is ctypes.c_double


# --- hand-written kernels ---------------------------------------------------------------------------------------------

def hand_written():
    """{name: kernel} of all that ops and optimizers declare."""
    import gc

    from numbagrad.kernel import jit
    return {k.name: k for k in gc.get_objects() if isinstance(k, jit.Kernel)
            and k.fn.__module__.startswith("numbagrad.")}


KERNELS = hand_written()
# They call BLAS, which has no form inside of a kernel on a device: their ops are composed there.
WITH_BLAS = {"attention_forward", "attention_backward", "lstm_forward", "lstm_gradient", "gru_forward", "gru_gradient",
             "rnn_forward", "rnn_gradient"}
# LAPACK works on the host, with all that is computed of its factors.
WITH_BLAS |= {n for n, k in KERNELS.items() if k.fn.__module__.removeprefix("numbagrad.ops.linalg.") in (
    "kernels", "householder_kernels", "elimination_blocks")} - {"invert_values", "count_above"}
WITH_BLAS -= {"copied", "exchange_before", "turned", "unit_columns"}  # which move elements only
WITH_BLAS |= {"definite_factors", "factors", "solve_symmetric", "symmetric_factors"}
# Written as the processor's vectors, and called for nothing else.
WITH_BLAS |= {"transform_lines", "wide_box_max", "channels_last", "bilinear_pixels", "bilinear_pairs", "sum_whole_bags",
              "bilinear_pixel_gradients", "channels_apart", "fractional_max_of_pairs"}


# Bytes that a thread keeps in memory: across the calls of series and continued fractions, which are not taken in.
SPILLED = {"incomplete_gammas": 32}


def sources(name):
    """Sources of the forms of a hand-written kernel in float32 (and int64 indices)."""
    from numbagrad.kernel.cuda import block_form, element_form, thread_form
    kernel = KERNELS[name]
    letters = {k for _, k in kernel.parameters({})} & {"U", "V"}
    first = {"ones": dt.int64, "next_bits": dt.int32}.get(name, dt.float32)  # whose elements are indices, and bits
    dtypes = (first, *[dt.int64] * len(letters)) if letters else first
    if hasattr(kernel, "rows"):  # of an optimizer
        return [element_form.source(kernel, dtypes, part) for part in ("counts", "elements")]
    ranged = kernel.parameters({})[-1][0] == "stop"
    found = [thread_form.source(kernel, dtypes, "items" if ranged else "serial")]
    if block_form.worth(kernel, dtypes, True):
        found.append(block_form.source(kernel, dtypes, "block" if ranged else "one"))
    return found


@pytest.mark.parametrize("name", sorted(set(KERNELS) - WITH_BLAS))
def test_hand_written_kernel(name):
    """Every form of every kernel compiles to machine code, no register of it is spilled, and shared memory suffices."""
    for source in sources(name):
        registers, spills, _, shared = resources(shim.ptx(source, HOPPER), HOPPER)
        assert spills <= SPILLED.get(name, 0), f"{source.name}: {registers} registers, {spills} bytes spilled"
        assert shared <= SHARED_LIMIT, source.name


@pytest.mark.parametrize("name", sorted(WITH_BLAS))
def test_kernels_with_blas_are_refused(name):
    with pytest.raises(NotImplementedError, match="has no form on a device"):
        sources(name)


@pytest.mark.parametrize("code,ta,tb", [("f4", 0, 0), ("f4", 1, 0), ("f4", 0, 1), ("f4", 1, 1), ("f8", 0, 1), ("c8", 2, 0),
                                        ("c16", 0, 2)])
def test_product(code, ta, tb):
    from numbagrad.kernel.cuda import device, gemm
    source = gemm.source(code, ta, tb, device.Gpu.tiles(None, code))
    registers, spills, frame, shared = resources(shim.ptx(source, HOPPER), HOPPER)
    assert spills == 0 and frame == 0, f"{registers} registers, {spills} bytes spilled, {frame} bytes of stack"
    assert shared <= SHARED_LIMIT
