"""CUDA kernels of reductions, from the scalar functions of ``dispatch.reduction``.

*rows* gives a block to each row: every thread folds a strided part of it, then the block merges its threads' results,
by warp shuffles or by a tree in shared memory (the form that the simulator can run, and that accumulators without a
shuffle take). *columns* gives a thread to each column, so that neighbours read neighbouring memory. When there are
too few results to fill the device, both cut the folded dimension into pieces and fold the pieces' accumulators in a
second launch. The order of combination depends on sizes alone: no atomics, the same bits every time.
"""

from __future__ import annotations

import re

from ...base import dtypes as dt
from .. import expr, jit
from . import emit, memory
from .address import plain
from .launch import launch, target
from .shim import Source, number_type

SHUFFLES = ("f4", "f8", "i4", "i8")  # accumulators that a shuffle instruction can pass
WARP = 32

ROWS = """shared = cuda.shared.array(SIZE, A_type)
thread = cuda.threadIdx.x
item = U(cuda.blockIdx.x)
while item < items:
    row = U(item // pieces)
    low = U((item - row * pieces) * length)
    high = min(U(low + length), count)
    base = row * count
    acc = START
    i = U(low + thread)
    while i < high and base + i < n:
        acc = A(combine(acc, A(VALUE[base + i])))
        i = U(i + BLOCK)
MERGE
    if thread == 0:
        out[item] = STORE(acc)
    cuda.syncthreads()
    item = U(item + cuda.gridDim.x)"""
TREE = """    shared[thread] = acc
    cuda.syncthreads()
    width = BLOCK // 2
    while width > 0:
        if thread < width:
            shared[thread] = A(combine(shared[thread], shared[thread + width]))
        cuda.syncthreads()
        width //= 2
    acc = shared[0]"""
# A warp's threads pass their accumulators down by 16, 8, 4, 2, 1; then the first warp does so with the warps' results.
SHUFFLE = """STEPS
    if thread % 32 == 0:
        shared[thread // 32] = acc
    cuda.syncthreads()
    if thread < 32:
        acc = shared[thread] if thread < SIZE else START
    NESTED"""
COLUMNS = """item = U(cuda.grid(1))
while item < items:
    part = U(item // inner)
    row = U(part // pieces)
    low = U((part - row * pieces) * length)
    high = min(U(low + length), count)
    at = (row * count + low) * inner + (item - part * inner)
    acc = START
    for _ in range(low, high):
        acc = A(combine(acc, A(VALUE[at])))
        at += inner
    out[item] = STORE(acc)
    item = U(item + cuda.gridsize(1))"""


def _shuffle(size):
    def step(pad, delta):
        return f"{pad}acc = A(combine(acc, A(cuda.shfl_down_sync(0xffffffff, acc, {delta}))))"
    steps = "\n".join(step("    ", d) for d in (16, 8, 4, 2, 1))
    nested = "\n".join(step("        ", d) for d in (16, 8, 4, 2, 1) if d < size).lstrip() or "pass"
    return SHUFFLE.replace("STEPS", steps).replace("NESTED", "    " + nested).replace("SIZE", str(size))


def source(op, form, code, out_code, acc, first, last, block, shuffles, small=True):
    """A kernel of one reduction. ``first`` kernels read the tensor (and map it), ``last`` ones finish and store;
    accumulators travel between them."""
    key = ("cuda", form, code, out_code, acc, first, last, block, shuffles, small)
    found = op.made.get(key)
    if found is None:
        found = op.made[key] = _build(op, *key[1:])
    return found


def _build(op, form, code, out_code, acc, first, last, block, shuffles, small):
    d = dt.BY_CODE[code]
    start = op.start(d) if callable(op.start) else op.start
    compute = "u1" if d.compute == "b1" else d.compute
    env, keys = {}, [repr((code, out_code, acc))]
    parts = [("combine", op.combine, ("acc", "x"), acc)]
    if op.map_fn and first:
        parts.append(("map_", op.map_fn, ("x",), compute))
    if op.finish_fn and last:
        parts.append(("finish", op.finish_fn, ("acc", "n"), acc))
    for name, fn, args, c in parts:
        env[name], key = _scalar(name, fn, args, c)
        keys.append(key)
    env["load"], k1 = emit.cast("load", code)
    env["store"], k2 = emit.cast("store", out_code)
    env["A"], env["C"] = emit.cast("T", acc)[0], emit.cast("T", compute)[0]
    number = f'float("{start!r}")' if isinstance(start, float) else repr(start)
    value = "map_(C(load(x[@])))" if "map_" in env else "load(x[@])"
    text = ROWS if form == "rows" else COLUMNS
    if form == "rows":
        env["A_type"] = number_type(acc)
        shuffle = shuffles and acc in SHUFFLES and block % WARP == 0
        size = block // WARP if shuffle else block
        text = text.replace("MERGE", _shuffle(size) if shuffle else TREE)
        text = text.replace("SIZE", str(size)).replace("BLOCK", str(block))
    text = text.replace("STORE(acc)", "store(finish(acc, A(total)))" if "finish" in env else "store(acc)" if last
                        else "acc")
    text = re.sub(r"VALUE\[([^\]]+)\]", lambda m: value.replace("@", m.group(1)), text)
    text = emit.portable(text.replace("START", f"A({number})"))
    env["U"] = emit.index_env(small)
    params = [("x", "*" + code), ("out", "*" + out_code)]
    params += [(name, "u4" if small else "i8") for name in "count inner total n length pieces items".split()]
    return Source("fold_" + op.name, params, text.split("\n"), env, "\n".join([*keys, k1, k2]))


def _scalar(name, fn, args, code):
    """(plain function, key text) of one of a reduction's scalar functions in the type of ``code``."""
    consts, body, results, used = expr.lines(expr.trace(fn, args), code)
    env, key = emit.functions(used, code)
    env.update(T_=emit.cast("T", code)[0], __name__="numbagrad.kernel.generated")
    lines = "".join(f"    {s}\n" for s in consts + body)
    text = f"def {name}({', '.join(args)}):\n{lines}    return {results[0]}\n"
    return jit.define(text, name, env), text + code + key


def run(op, t, out, steps):
    """Run the stages of a reduction (see ``dispatch.reduction.stages``) on row-major device memory."""
    gpu = target()
    index = out._kind.device.index
    d = t._kind.dtype
    acc = op.accumulator(d)
    total = max(t._n // out._n, 1) if t._n else 0
    block = gpu.fold_block
    work = []
    for form, count, inner, _, results in steps:
        pieces = split(gpu, form, count, results)
        if pieces > 1:
            length = -(-count // pieces)
            pieces = -(-count // length)
            work.append((form, count, inner, results, length, pieces))
            count = pieces
        work.append((form, count, inner, results, count, 1))
    ptr, code, n = plain(t._ptr), d.code, t._n
    held = []  # what stages in between left, until the last is launched
    for k, (form, count, inner, results, length, pieces) in enumerate(work):
        first, last = k == 0, k == len(work) - 1
        items = results * pieces
        if last:
            to, to_ptr, to_code = out._buf, plain(out._ptr), out._kind.dtype.code
        else:
            to = memory.allocate(items * dt.BY_CODE[acc].itemsize, index)
            to_ptr, to_code = to.ptr, acc
        kernel = source(op, form, code, to_code, acc, first, last, block, gpu.shuffles, t._n < emit.SMALL)
        args = [gpu.pointer(ptr, code), gpu.pointer(to_ptr, to_code)]
        args += [count, inner, total, n, length, pieces, items]
        if form == "rows":
            gpu.launch(kernel, args, min(items, 64 * gpu.blocks), block, index)
        else:
            launch(kernel, args, items, index)
        held.append(to)
        ptr, code, n = to_ptr, to_code, items


def split(gpu, form, count, results):
    """Into how many pieces a fold of ``count`` elements is cut, given how many results share the device."""
    busy = results if form == "rows" else -(-results // gpu.block)
    wanted = 4 * gpu.units
    # A column is walked by one thread, a row by a block: their pieces differ by the width of a block.
    piece = gpu.piece if form == "rows" else max(gpu.piece // 64, 2)
    if busy >= wanted or count < 2 * piece:
        return 1
    return max(1, min(-(-wanted // busy), count // piece))
