"""Run ops on memory with guard bytes on both sides of every array: a kernel that writes outside of one is named.

Run as a program, because NumPy's allocator has to be replaced before the library takes it. Arguments: names of ops (all
public ones without)."""

import sys
import warnings

import numpy as np

GUARD, MARK = 256, 0xA5
plain_empty, arrays = np.empty, []


def guarded(shape, dtype=float, *rest, **options):
    """``np.empty`` with guard bytes around the memory."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = plain_empty(size + 2 * GUARD, np.uint8)
    raw[:GUARD] = raw[GUARD + size:] = MARK
    arrays.append((raw, size, shape, dtype))
    return raw[GUARD:GUARD + size].view(dtype).reshape(shape)


def harmed():
    """What arrays lost guard bytes since the last call."""
    found = [f"{shape} {dtype}" for raw, size, shape, dtype in arrays
             if (raw[:GUARD] != MARK).any() or (raw[GUARD + size:] != MARK).any()]
    arrays.clear()
    return found


def copied(a):
    b = guarded(a.shape, a.dtype)
    b[...] = a
    return b


def main(names):
    import numbagrad as ng
    from registry.check import weights
    from registry.draw import cases, floats, ops

    def run(case, values, what):
        arrays.clear()
        tensors = [ng.from_numpy(copied(v)) for v in values]
        try:
            for k in case.differentiable:
                tensors[k].requires_grad_()
            outputs = [o for o in floats(case.call(tensors)) if o.requires_grad]
            if outputs:
                up = [ng.from_numpy(copied(w)) for w in weights([tuple(o.shape) for o in outputs], 0)]
                ng.autograd.grad(outputs, [tensors[k] for k in case.differentiable], up, allow_unused=True)
        except Exception as error:  # a refusal is as good as a result here
            del error
        bad = harmed()
        if bad:
            print(f"{what}: wrote outside of {bad}", flush=True)

    count = 0
    for op in ops(private=False):
        if names and op.name not in names:
            continue
        count += 1
        for case in cases(op)[:3]:
            run(case, case.arrays, repr(case))
            for k, a in enumerate(case.arrays):
                for shape in ((), (7,), (2, 7), (2, 3, 7), (0,), (2, 0)):
                    values = list(case.arrays)
                    values[k] = np.resize(a, shape).astype(a.dtype) if a.size else np.zeros(shape, a.dtype)
                    run(case, values, f"{case} with tensor {k} of shape {shape}")
                for index in (-1, -100, 5, 100) if a.dtype.kind == "i" else ():
                    values = list(case.arrays)
                    values[k] = np.full_like(a, index)
                    run(case, values, f"{case} with index {index}")
    print(count, "ops run")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.empty = guarded
    main(sys.argv[1:])
