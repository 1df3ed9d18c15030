"""Every op on views of other layouts: transposed, sliced, expanded; upstream gradients too. Nothing read is written."""

import os
import subprocess
import sys

import numpy as np
import paths
import pytest
from registry.check import same, weights
from registry.draw import cases, flat, floats, ids, ops
from registry.known import MEMORY

import numbagrad as ng

PLAIN = [op for op in ops() if op.dtypes in ("any", "float", "int") and op.name not in MEMORY]
# Views of the input's memory, or ops that are about memory: their results are compared by value as well.
GRADED = [op for op in PLAIN if op.differentiable and op.dtypes != "int"]


def transposed(a):
    """The same values, stored column by column."""
    return ng.from_numpy(np.asfortranarray(a)) if a.ndim > 1 else ng.from_numpy(a.copy())


def sliced(a):
    """The same values as every second element of a longer buffer, from an offset on."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype) if a.ndim else np.zeros(3, a.dtype)
    if not a.ndim:
        wide[1] = a
        return ng.from_numpy(wide[1:2].reshape(()))
    wide[..., 1::2] = a
    return ng.from_numpy(wide[..., 1::2])


def expanded(a):
    """The first row for all rows, with stride zero."""
    return ng.from_numpy(np.broadcast_to(a[:1], a.shape).copy()[:1]).expand(a.shape) if a.ndim and a.shape[0] else \
        ng.from_numpy(a.copy())


LAYOUTS = {"transposed": transposed, "sliced": sliced, "expanded": expanded}


def prepared(case, layout):
    """The arguments in a layout, and the same values row-major."""
    strange = [LAYOUTS[layout](a) if a.dtype.kind == "f" else ng.from_numpy(a.copy()) for a in case.arrays]
    plain = [ng.tensor(np.ascontiguousarray(t.numpy())) for t in strange]
    return strange, plain


def test_layouts_are_what_they_say():
    a = np.arange(6.0).reshape(2, 3)
    assert [LAYOUTS[n](a).is_contiguous() for n in LAYOUTS] == [False, False, False]
    assert LAYOUTS["expanded"](a).stride() == (0, 1)
    assert all(np.array_equal(LAYOUTS[n](a).numpy(), a) for n in ("transposed", "sliced"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", PLAIN, ids=ids)
def test_value(op, layout):
    for case in cases(op)[:3]:
        strange, plain = prepared(case, layout)
        try:
            expected = case.call(plain)
        except RuntimeError as error:  # equal rows make a singular matrix
            with pytest.raises(type(error)):
                case.call(strange)
            continue
        got = case.call(strange)
        if not flat(got):
            assert got == expected
        else:
            same(got, expected, f"{case} {layout}")


@pytest.mark.parametrize("op", GRADED, ids=ids)
def test_gradient(op):
    for case in cases(op)[:3]:
        wanted = case.differentiable
        if not wanted:
            continue
        for layout in ("transposed", "sliced"):
            pair = []
            for tensors in prepared(case, layout):
                for k in wanted:
                    tensors[k].requires_grad_()
                outputs = [o for o in floats(case.call(tensors)) if o.requires_grad]
                ws = weights([tuple(o.shape) for o in outputs], 0)
                upstream = [(LAYOUTS[layout](w) if not pair else ng.tensor(w)) for w in ws]
                pair.append(ng.autograd.grad(outputs, [tensors[k] for k in wanted], upstream, allow_unused=True)
                            if outputs else [])
            got, expected = pair
            assert [g is None for g in got] == [g is None for g in expected]
            same([g for g in got if g is not None], [g for g in expected if g is not None], f"{case} {layout}", 16)


@pytest.mark.parametrize("op", GRADED, ids=ids)
def test_gradient_of_expanded_upstream(op):
    """What ``sum().backward()`` sends: one number with stride zero everywhere."""
    case = cases(op)[0]
    wanted = case.differentiable
    if not wanted:
        return
    pair = []
    for make in (lambda s: ng.tensor(0.75, dtype=ng.float64).expand(s), lambda s: ng.full(s, 0.75, dtype=ng.float64)):
        tensors = case.tensors(requires_grad=True)
        outputs = [o for o in floats(case.call(tensors)) if o.requires_grad]
        pair.append(ng.autograd.grad(outputs, [tensors[k] for k in wanted], [make(tuple(o.shape)) for o in outputs],
                                     allow_unused=True) if outputs else [])
    same([g for g in pair[0] if g is not None], [g for g in pair[1] if g is not None], repr(case), 16)


@pytest.mark.parametrize("op", [op for op in ops() if op.dtypes != "complex"], ids=ids)
def test_nothing_is_written(op):
    """Inputs and upstream gradients keep their bytes and their versions, through forward and both kinds of backward."""
    for case in cases(op)[:3]:
        graded = op.differentiable and op.dtypes != "int"
        tensors = case.tensors(requires_grad=graded)
        before = [t.detach().numpy().tobytes() for t in tensors]
        result = case.call(tensors)
        assert [t._version for t in tensors] == [0] * len(tensors)
        assert [t.detach().numpy().tobytes() for t in tensors] == before, f"{case} changed an input"
        outputs = [o for o in floats(result) if o.requires_grad]
        if not outputs:
            continue
        wanted = [tensors[k] for k in case.differentiable]
        upstream = [ng.tensor(w) for w in weights([tuple(o.shape) for o in outputs], 0)]
        sent = [u.numpy().tobytes() for u in upstream]
        kept = [o.detach().numpy().tobytes() for o in outputs]
        for graph in (True, False):
            ng.autograd.grad(outputs, wanted, upstream, retain_graph=True, create_graph=graph, allow_unused=True)
            assert [u.numpy().tobytes() for u in upstream] == sent, f"backward of {case} changed the upstream gradient"
            assert [t.detach().numpy().tobytes() for t in tensors] == before, f"backward of {case} changed an input"
            assert [o.detach().numpy().tobytes() for o in outputs] == kept, f"backward of {case} changed a result"


FROZEN = """
import ctypes, mmap, sys
import numpy as np
sys.path.insert(0, {tests!r})
from registry.check import weights
from registry.draw import REGISTRY, Case, floats
import numbagrad as ng

libc = ctypes.CDLL(None, use_errno=True)


def frozen(a):
    memory = mmap.mmap(-1, max(len(a.tobytes()), 1))
    view = np.frombuffer(memory, a.dtype, a.size).reshape(a.shape)
    view[...] = a
    size = -(-max(a.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    assert libc.mprotect(ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), 1) == 0
    return ng.from_numpy(view)


for name in {names!r}:
    case = Case(REGISTRY[name], 0)
    tensors = [frozen(a) for a in case.arrays]
    for k in case.differentiable:
        tensors[k].requires_grad_()
    outputs = [o for o in floats(case.call(tensors)) if o.requires_grad]
    if outputs:
        up = [frozen(w) for w in weights([tuple(o.shape) for o in outputs], 0)]
        ng.autograd.grad(outputs, [tensors[k] for k in case.differentiable], up, allow_unused=True)
    print("done", name, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
def test_inputs_on_read_only_pages():
    """A process whose inputs the kernel of the system protects: a stray write would end it with a signal."""
    wanted = ("add mul sigmoid relu gelu softmax matmul linear sum mean cumsum cat index_select layer_norm conv2d "
              "cross_entropy prod max sort clamp where").split()
    here = [n for n in wanted if n in {op.name for op in ops()}]
    code = FROZEN.format(tests=str(paths.TESTS), names=here)
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"ended with {run.returncode} after {run.stdout.split()[-1:]}:\n{run.stderr[-2000:]}"
    assert run.stdout.split()[1::2] == here


def test_no_kernel_writes_outside_its_arrays():
    """Every public op on guarded memory, with its samples, tensors of wrong shapes and indices out of range."""
    tests = paths.TESTS
    run = subprocess.run([sys.executable, str(tests / "registry" / "canary.py")], capture_output=True, text=True, timeout=900,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])})
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1].endswith("ops run")
    assert run.stdout.count("\n") == 1, run.stdout


def test_guards_notice_a_stray_write():
    """The guard itself: one byte before or after an array is found."""
    from registry import canary
    for place in (-1, 3 * 8):
        a = canary.guarded(3)
        assert canary.harmed() == []
        a = canary.guarded(3)
        raw = canary.arrays[-1][0]
        raw[canary.GUARD + place] = 0
        assert canary.harmed() == ["(3,) float64"] and a.shape == (3,)
