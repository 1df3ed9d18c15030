"""Names that scripts ask for beside the ops, as PyTorch has them: symbolic numbers, streams, futures, hooks, swaps."""

from __future__ import annotations

import math
import os
import threading
import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBS = (ng, torch)


def outcome(action, lib):
    try:
        found = action(lib)
    except Exception as e:
        found = type(e).__name__, str(e).split("\n")[0]
    return str(found).replace("numbagrad", "torch")


def both(*actions):
    for action in actions:
        assert outcome(action, ng) == outcome(action, torch)


def test_symbolic_numbers():
    for a in (2, -2.7, 3.5, True, "x", "3"):
        both(lambda lib, a=a: lib.sym_float(a), lambda lib, a=a: lib.sym_not(a))
        if a != "x":
            both(lambda lib, a=a: lib.sym_int(a))
        for b in (1, 3.0, True, "y"):
            both(lambda lib, a=a, b=b: lib.sym_max(a, b), lambda lib, a=a, b=b: lib.sym_min(a, b),
                 lambda lib, a=a, b=b: lib.sym_ite(a, b, 7), lambda lib, a=a, b=b: lib.sym_ite(True, b, 7))
    both(lambda lib: lib.sym_sum([1, 2, 3]), lambda lib: lib.sym_sum(1, 2), lambda lib: lib.sym_sum((1.5, 2)))
    for name in ("SymInt", "SymFloat", "SymBool"):
        both(lambda lib, name=name: isinstance(lib.ones(2).shape[0], getattr(lib, name)),
             lambda lib, name=name: getattr(lib, name))
    both(lambda lib: lib.thread_safe_generator(), lambda lib: lib.init_num_threads())


def test_errors_are_classes():
    for name in ("OutOfMemoryError", "AcceleratorError", "FatalError"):
        both(lambda lib, name=name: [c.__name__ for c in getattr(lib, name).__mro__], lambda lib, name=name: getattr(lib, name))
    assert issubclass(ng.JITException, Exception) and ng.cuda.OutOfMemoryError is ng.OutOfMemoryError


def test_streams_and_events():
    both(lambda lib: lib.Stream(), lambda lib: lib.Stream("cpu"), lambda lib: lib.Stream("meta"), lambda lib: lib.Event(),
         lambda lib: lib.Stream(3), lambda lib: lib.Event("cpu").record(), lambda lib: lib.Event().query(),
         lambda lib: lib.Event().synchronize(), lambda lib: lib.Event().wait(), lambda lib: lib.Event().device,
         lambda lib: lib.Event().elapsed_time(lib.Event()),
         lambda lib: lib.Event(enable_timing=True).elapsed_time(lib.Event(enable_timing=True)))
    stream = ng.Stream()
    with stream:
        assert stream.query() and stream == ng.Stream() and hash(stream) == hash(ng.Stream()) and stream != 3
        stream.synchronize()
        stream.wait_stream(ng.Stream())
        stream.wait_event(ng.Event())
    with pytest.raises(RuntimeError, match="doesn't support events"):
        stream.record_event()
    with pytest.raises(RuntimeError, match="cuda"):
        ng.Stream("cuda")


def test_cond():
    def up(x):
        return x + 1

    def down(x):
        return x - 1
    both(lambda lib: lib.cond(True, up, down, (lib.ones(2),)), lambda lib: lib.cond(0, up, down, (lib.ones(2),)),
         lambda lib: lib.cond(2.5, up, down, [lib.ones(2)]), lambda lib: lib.cond("a", up, down, (lib.ones(2),)),
         lambda lib: lib.cond(lib.ones(2), up, down, (lib.ones(2),)),
         lambda lib: lib.cond(lib.tensor(True), 3, down, (lib.ones(2),)),
         lambda lib: lib.cond(lib.tensor(True), up, down, (3,)), lambda lib: lib.cond(lib.tensor(True), up, down, 3))
    x = ng.ones(2, requires_grad=True)
    for value, sign in ((True, 1), (False, -1)):
        y = ng.cond(ng.tensor(value), lambda a: a * 2, lambda a: -a * 2, ({"a": [x]}["a"][0],))
        assert ng.autograd.grad(y.sum(), x)[0].tolist() == [2.0 * sign] * 2


def test_futures():
    def steps(lib):
        a, b, seen = lib.futures.Future(), lib.futures.Future(), []
        c = a.then(lambda f: f.wait() + 1).then(lambda f: f.value() * 2)
        a.add_done_callback(lambda f: seen.append(f.value()))
        both_done = lib.futures.collect_all([a, b])
        states = [a.done(), c.done(), both_done.done()]
        a.set_result(3)
        states += [a.done(), c.wait(), both_done.done()]
        b.set_result(4)
        bad = lib.futures.Future()
        bad.set_exception(ValueError("no"))
        states += [[f.wait() for f in both_done.wait()], lib.futures.wait_all([a, b]), seen,
                   lib.futures.wait_all([]) if lib is ng else []]
        for action in (bad.wait, bad.value, bad.then(lambda f: f.wait()).wait):
            try:
                action()
            except Exception as e:
                states.append((isinstance(e, ValueError) or "no" in str(e), "no" in str(e)))
        return states
    both(steps)
    future = ng.futures.Future()
    threading.Timer(0.05, future.set_result, (5,)).start()
    assert future.wait() == 5
    with pytest.raises(RuntimeError, match="can only be marked completed once"):
        future.set_result(6)
    with pytest.raises(RuntimeError, match="has not completed"):
        ng.futures.Future().value()
    both(lambda lib: lib.futures.Future().set_exception(3))


def test_hooks():
    def marked(lib):
        @lib.utils.hooks.unserializable_hook
        def hook(g):
            return g
        return hook
    for lib in LIBS:
        for made in (lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True) * 2):
            made.register_hook(marked(lib))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                lib.utils.hooks.warn_if_has_hooks(made)
            made.register_hook(len)
            with pytest.warns(UserWarning, match="backward hook <built-in function len> on tensor will not be serialized"):
                lib.utils.hooks.warn_if_has_hooks(made)

    def around(lib):
        seen = []
        hook = lib.utils.hooks.BackwardHook(
            "m", [lambda m, i, o: seen.append((m, i, o))], [lambda m, o: (o[0] * 2,)])
        x = lib.ones(2, requires_grad=True)
        a, text = hook.setup_input_hook((x, "text"))
        y = hook.setup_output_hook(a * 3)
        y.sum().backward()
        return seen, text, x.grad
    both(around)


def test_swapped_tensors():
    def swapped(lib):
        a, b = lib.nn.Parameter(lib.ones(2, 3)), lib.arange(4.0)
        a.tag, first = "a", a
        lib.utils.swap_tensors(a, b)
        return type(a).__name__, a, type(b).__name__, b, getattr(b, "tag", None), first is a
    both(swapped)
    import weakref
    for lib in LIBS:
        t, u = lib.ones(2), lib.ones(2)
        held = weakref.ref(t)
        with pytest.raises(RuntimeError, match="Cannot swap t1 because it has weakref associated with it"):
            lib.utils.swap_tensors(t, u)
        assert held() is t

    def place(lib):
        class Box:
            pass
        lib.utils.set_module(Box, "elsewhere")
        return Box.__module__
    both(place, lambda lib: lib.utils.set_module(object(), 3))


@pytest.mark.parametrize("setting", ["swap", "overwrite", None])
def test_conversions_of_modules(setting):
    def converted(lib):
        future = lib.__future__
        m = lib.nn.Linear(2, 1)
        with lib.no_grad():
            for p in m.parameters():
                p.fill_(0.5)
        m(lib.ones(1, 2)).sum().backward()
        del_graph = m.weight
        try:
            if setting:
                getattr(future, f"set_{setting}_module_params_on_conversion")(True)
            states = [future.get_swap_module_params_on_conversion(), future.get_overwrite_module_params_on_conversion()]
            m.double()
            states += [m.weight is del_graph, m.weight.dtype, m.weight.grad, type(m.weight).__name__, m.weight.requires_grad]
            missing = m.load_state_dict({"weight": lib.ones(1, 2), "bias": lib.zeros(1)})
            states += [m.weight is del_graph, m.weight.dtype, m.weight.tolist(), str(missing)]
            m.load_state_dict({"weight": lib.ones(1, 2) * 3, "bias": lib.zeros(1)}, assign=True)
            states += [m.weight is del_graph, m.weight.dtype, m.weight.tolist(), type(m.weight).__name__]
        finally:
            future.set_swap_module_params_on_conversion(False)
            future.set_overwrite_module_params_on_conversion(False)
        return states
    both(converted)


def test_small_names_of_tensors():
    both(lambda lib: lib.ones(2).name, lambda lib: lib.ones(2, dtype=lib.int64).grad_dtype, lambda lib: lib.ones(2).grad_dtype,
         lambda lib: lib.ones(2).module_load(lib.zeros(2)), lambda lib: lib.ones(2).module_load(lib.zeros(3), assign=True))
    x = ng.ones(2)
    assert x.const_data_ptr() == x.data_ptr()
    for lib in LIBS:
        with pytest.warns(UserWarning, match="volatile was removed"):
            assert lib.ones(2).volatile is False


def test_slice_copy_and_polygamma_():
    def copied(lib, *args):
        x = lib.arange(24.0).reshape(2, 3, 4)
        y = lib.slice_copy(x, *args)
        return y, y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), y.stride()
    for args in ((), (1, 1), (2, 0, 4, 3), (-1, None, 2), (1, -2, None), (5,), (1, None, None, 0)):
        both(lambda lib, args=args: copied(lib, *args))
    x = ng.rand(3, 4, dtype=ng.float64, requires_grad=True)
    assert ng.autograd.gradgradcheck(lambda x: ng.slice_copy(x, 1, 0, 3, 2) ** 2, (x,))
    both(lambda lib: lib.tensor([1.0, 2.5]).polygamma_(1), lambda lib: lib.ones(2).polygamma_(0))
    y = ng.rand(3, dtype=ng.float64).add(0.5).requires_grad_()
    assert ng.autograd.gradgradcheck(lambda y: y.clone().polygamma_(1), (y,))


def test_ormqr():
    def product(lib, left, transpose, dtype, batch=()):
        lib.manual_seed(2)
        a, tau = lib.geqrf(lib.rand(*batch, 4, 3, dtype=getattr(lib, dtype)))
        other = lib.rand(*batch, 4, 2, dtype=getattr(lib, dtype)) if left else lib.rand(*batch, 2, 4, dtype=getattr(lib, dtype))
        return lib.ormqr(a, tau, other, left, transpose), a.ormqr(tau, other, left=left, transpose=transpose)
    for left in (True, False):
        for transpose in (True, False):
            for dtype in ("float32", "float64"):
                for batch in ((), (2,)):
                    (a, b), (c, _) = (product(lib, left, transpose, dtype, batch) for lib in LIBS)
                    assert a.tolist() == b.tolist()
                    assert torch.allclose(torch.from_numpy(a.numpy()), c, rtol=1e-4, atol=1e-5)
    for shapes in (((3, 2), (3,), (3, 4)), ((3, 2), (2,), (4, 3)), ((3,), (2,), (4, 3)), ((2, 3, 2), (2, 2), (3, 3)),
                   ((3, 2), (2,), (3,)), ((3, 2), (1,), (3, 3)), ((3, 2), (2, 2), (3, 3)), ((2, 3, 2), (3, 2), (2, 3, 3)),
                   ((2, 3, 2), (2, 2), (1, 3, 3)), ((0, 0), (0,), (0, 3)), ((3, 2), (2,), (3, 0))):
        both(lambda lib, shapes=shapes: lib.ormqr(*[lib.ones(s) for s in shapes]).shape)
    both(lambda lib: lib.ormqr(lib.ones(3, 2), lib.ones(2, dtype=lib.float64), lib.ones(3, 3)))
    both(lambda lib: lib.ormqr(lib.ones(3, 2).half(), lib.ones(2).half(), lib.ones(3, 3).half()),
         lambda lib: lib.ormqr(lib.ones(3, 2).long(), lib.ones(2).long(), lib.ones(3, 3).long()))
    for dtype in (ng.float64, ng.complex128):
        args = [ng.rand(*s, dtype=dtype, requires_grad=True) for s in ((5, 4), (4,), (5, 3), (3, 5))]
        for left in (True, False):
            for transpose in (True, False):
                assert ng.autograd.gradcheck(lambda *a, t=transpose, s=left: ng.ormqr(*a, s, t), (*args[:2], args[3 - left]))


@pytest.mark.parametrize("dtype", ("float32", "complex128"))
@pytest.mark.parametrize("shape", ((150, 100), (100, 100), (2, 130, 97), (130, 540), (50, 210)))
def test_reflections_in_blocks(shape, dtype):
    rng = np.random.default_rng(0)

    def drawn(*s):
        a = rng.standard_normal(s)
        return ng.tensor((a + 1j * rng.standard_normal(s) if dtype == "complex128" else a).astype(dtype))
    a, (*batch, m, n) = drawn(*shape), shape
    tolerance = 3e-4 if dtype == "float32" else 1e-11
    found, tau = ng.geqrf(a)
    eye = ng.eye(m, dtype=a.dtype).expand(*batch, m, m)
    q = ng.ormqr(found, tau, eye)
    assert ng.allclose(q @ found.triu(), a, atol=tolerance) and ng.allclose(q.mH @ q, eye, atol=tolerance)
    if m >= n:
        assert ng.allclose(ng.orgqr(found, tau), q[..., :n], atol=tolerance)
        part = ng.orgqr(found, tau[..., :96])
        assert ng.allclose(part, ng.ormqr(found[..., :96], tau[..., :96], eye)[..., :n], atol=tolerance)
    for width in (3, 75):
        c = drawn(*batch, m, width)
        assert ng.allclose(ng.ormqr(found, tau, c), q @ c, atol=tolerance)
        assert ng.allclose(ng.ormqr(found, tau, c, True, True), q.mH @ c, atol=tolerance)
        assert ng.allclose(ng.ormqr(found, tau, c.mT, False), c.mT @ q, atol=tolerance)
        assert ng.allclose(ng.ormqr(found, tau, c.mT, False, True), c.mT @ q.mH, atol=tolerance)


def test_gradients_of_reflections_near_the_largest_number():
    """What overflows on the way there and is multiplied by zeros is no part of them."""
    cases = [([[0.25, 0.5], [-0.5, 1.5]], [-1e20, 0.5], [[0.5, -0.75], [-1.75, -1.0]]),
             ([[0.75, 0.25, 1.75], [0.75, 2.0, -0.25], [-0.75, 0.5, 0.5]], [0.25, -0.75, 0.5],
              [[0.0, -1.75, 0.25], [0.0, 0.75, -1.75], [-3e38, 0.25, 0.5]])]
    for a, tau, g in cases:
        grads = []
        for dtype in (ng.float32, ng.float64):
            x, y = (ng.tensor(v, dtype=dtype, requires_grad=True) for v in (a, tau))
            ng.linalg.householder_product(x, y).backward(ng.tensor(g, dtype=dtype))
            grads.append(y.grad.numpy())
        assert np.isfinite(grads[0]).all()
        np.testing.assert_allclose(grads[0][0], grads[1][0], rtol=1e-5)


def test_modes_that_change_nothing():
    def run(lib):
        x = lib.ones(2, requires_grad=True)
        with lib.autograd.set_multithreading_enabled(False), lib.autograd.enforce_grad_layout_policy(False):
            (x * 2).sum().backward()
        lib.autograd.graph.set_override_stale_capture_stream(False)
        lib.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(True)
        return x.grad
    both(run, lambda lib: lib.autograd.graph.region_activation_memory_budget(0.5))


def test_histogramdd():
    def counted(lib, bins, kwargs):
        lib.manual_seed(4)
        x = lib.rand(30, 2, dtype=lib.float64)
        if isinstance(bins, list):
            bins = [lib.tensor(b, dtype=lib.float64) if isinstance(b, list) else b for b in bins]
        kwargs = {k: lib.rand(30, dtype=lib.float64) if v == "rand" else v for k, v in kwargs.items()}
        found = lib.histogramdd(x, bins, **kwargs)
        return [found.hist.shape, found.hist.tolist(), [e.tolist() for e in found.bin_edges], type(found).__name__]
    for bins in (3, [2, 4], [[0.1, 0.5, 0.6], [0.0, 1.0]], [1, 1]):
        for kwargs in ({}, {"range": [0.25, 0.75, 0.0, 1.0]}, {"density": True}, {"weight": "rand"}):
            if isinstance(bins, list) and isinstance(bins[0], list) and "range" in kwargs:
                continue
            (a, b, c, d), (e, f, g, h) = (counted(lib, bins, kwargs) for lib in LIBS)
            assert a == tuple(e) and d == h
            np.testing.assert_allclose(b, f, rtol=1e-12)
            for mine, theirs in zip(c, g, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    seen = [lib.histogramdd(lib.arange(600.0).reshape(-1, 2) % 7, [70, 35], range=[0.0, 7.0, 0.0, 7.0]) for lib in LIBS]
    assert seen[0].hist.tolist() == seen[1].hist.tolist()  # on edges
    x = ng.rand(20, 2)
    for _ in range(12):  # (planned from the eighth on)
        found = ng.histogramdd(x, [3, 2], density=True)
    np.testing.assert_allclose(found.hist.numpy(), np.histogramdd(x.numpy(), [3, 2], density=True)[0], rtol=1e-5)
    x[3, 1] = math.inf
    with pytest.raises(RuntimeError, match=r"dimension 1's range \[.*inf\] is not finite"):
        ng.histogramdd(x, [3, 2], density=True)
    heavy = [lib.histogramdd(lib.tensor([[0.0, 5.0], [0.5, 0.5]]), [2, 2], range=[0.0, 1.0, 0.0, 1.0],
                             weight=lib.tensor([math.inf, 1.0])).hist.tolist() for lib in LIBS]
    assert heavy == [[[0, 0], [0, 1]]] * 2
    e = [0.0, 1.0]
    both(lambda lib: lib.histogramdd(lib.ones(3, 0), []), lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e), 3]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [2.5, 2]), lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e)]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e), lib.tensor(e, dtype=lib.float64)]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e), lib.tensor([e])]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e), lib.tensor([])]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor(e), lib.tensor([1.0])]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), [lib.tensor([0.5, 0.0, 1.0]), lib.tensor(e)]),
         lambda lib: lib.histogramdd(lib.ones(3, 2), 2, range=[0.0, 1.0, 0.0, math.inf]))
    both(lambda lib: lib.histogramdd(lib.ones(5, 2), 2), lambda lib: lib.histogramdd(lib.zeros(0, 2), 2),
         lambda lib: lib.histogramdd(lib.ones(2, 5, 2), [2, 3]), lambda lib: lib.histogramdd(lib.ones(5, 2), [2, 3, 4]),
         lambda lib: lib.histogramdd(lib.ones(5), 2), lambda lib: lib.histogramdd(lib.ones(5, 2), 2, range=[0.0, 1.0]),
         lambda lib: lib.histogramdd(lib.ones(5, 2, dtype=lib.int64), 2), lambda lib: lib.histogramdd(lib.ones(5, 2), [2, 0]),
         lambda lib: lib.histogramdd(lib.tensor([[1.0, float("nan")]]), 2),
         lambda lib: lib.histogramdd(lib.ones(5, 2), 2, range=[0.0, 1.0, 1.0, 0.0]),
         lambda lib: lib.histogramdd(lib.ones(5, 2), 2, weight=lib.ones(4)),
         lambda lib: lib.histogramdd(lib.ones(5, 2), 2, weight=lib.ones(5, dtype=lib.float64)))


def test_distributed_sampler():
    for size in (0, 1, 7, 12):
        for kwargs in ({}, {"shuffle": False}, {"seed": 3}, {"drop_last": True}, {"drop_last": True, "shuffle": False}):
            for rank in range(3):
                def order(lib, size=size, kwargs=kwargs, rank=rank):
                    s = lib.utils.data.DistributedSampler(range(size), 3, rank, **kwargs)
                    first = list(s)
                    s.set_epoch(2)
                    return len(s), first, list(s)
                both(order)
    both(lambda lib: lib.utils.data.DistributedSampler(range(3), 3, 5),
         lambda lib: lib.utils.data.DistributedSampler(range(3), 3, -1))
    with pytest.raises(RuntimeError, match="Requires distributed package"):
        ng.utils.data.DistributedSampler(range(3))


def test_small_names_of_the_profiler():
    def seen(lib):
        unique = lib.autograd.profiler.EnforceUnique()
        unique.see("a", 1)
        unique.see("a", 2)
        unique.see("a", 1)
    both(seen)

    class Start:
        def __init__(self, ns):
            self.ns = ns

        def start_ns(self):
            return self.ns

    def found(lib):
        records = [(Start(ns), i) for i, ns in enumerate((30, 10, 20, 20, 50))]
        acc = lib.autograd.profiler.MemRecordsAcc(records)
        return [sorted(i for _, i in acc.in_interval(*ends)) for ends in ((10, 20), (20, 20), (21, 29), (0, 100), (50, 50))]
    both(found)

    def steps(lib):
        tracker = lib.autograd.profiler.KinetoStepTracker
        first = tracker.current_step()
        tracker.init_step_count("a")
        made = [tracker.increment_step(who) - first for who in ("a", "b", "a", "b", "b", "b")]
        return made, tracker.erase_step_count("a"), tracker.erase_step_count("a"), tracker.erase_step_count("b")
    both(steps)


def test_sparse_invariants():
    def run(lib):
        check = lib.sparse.check_sparse_tensor_invariants
        states = [check.is_enabled()]
        with check(True):
            states.append(check.is_enabled())
        check.enable()
        states += [check.is_enabled(), check(False)(check.is_enabled)(), check.is_enabled()]
        check.disable()
        one = check()
        with one:
            with one:
                pass
    both(run)


def test_states_of_devices_for_checkpoints():
    both(lambda lib: lib.utils.checkpoint.get_device_states(lib.ones(2), [3, {"a": lib.ones(1)}]),
         lambda lib: lib.utils.checkpoint.set_device_states([], []),
         lambda lib: lib.utils.checkpoint.set_device_states([], [], device_type="meta"))
    for lib in LIBS:
        kind = lib.utils.checkpoint.DefaultDeviceType
        old = kind.get_device_type()
        kind.set_device_type("xpu")
        assert kind.get_device_type() == "xpu"
        kind.set_device_type(old)
    x = ng.ones(2, requires_grad=True)
    with ng.utils.checkpoint.set_checkpoint_debug_enabled(False):
        ng.utils.checkpoint.checkpoint(lambda x: x * 2, x, use_reentrant=False, debug=True).sum().backward()
    assert x.grad.tolist() == [2, 2]
    with ng.utils.checkpoint.set_checkpoint_debug_enabled(True), pytest.raises(NotImplementedError, match="debug"):
        ng.utils.checkpoint.checkpoint(lambda x: x * 2, x, use_reentrant=False)


def test_settings_of_files(tmp_path):
    path = tmp_path / "x.pt"
    ng.save(ng.tensor([1, 256], dtype=ng.int32), path, _disable_byteorder_record=True)

    def loaded(lib):
        s, found = lib.serialization, []
        try:
            for order in (None, s.LoadEndianness.NATIVE, s.LoadEndianness.LITTLE, s.LoadEndianness.BIG):
                s.set_default_load_endianness(order)
                found.append((s.get_default_load_endianness() is order, lib.load(path).tolist()))
        finally:
            s.set_default_load_endianness(None)
        s.set_crc32_options(False)
        found.append(s.get_crc32_options())
        s.set_crc32_options(True)
        return found, s.get_crc32_options(), s.LoadEndianness.BIG
    both(loaded, lambda lib: lib.serialization.set_default_load_endianness(3),
         lambda lib: lib.serialization.location_tag(lib.ones(2).untyped_storage()),
         lambda lib: lib.serialization.location_tag(3),
         lambda lib: lib.serialization.normalize_storage_type(lib.FloatStorage),
         lambda lib: lib.serialization.validate_cuda_device("cpu"), lambda lib: lib.version.rocm,
         lambda lib: [c.__name__ for c in lib.serialization.SourceChangeWarning.__mro__])
    if not torch.cuda.is_available() and not ng.cuda.is_available():
        both(lambda lib: lib.serialization.validate_cuda_device("cuda:0"))

    class Module:
        __name__, __version__ = "m", "1.2.x"
    for wanted in ((1, 1), (1, 2), (1, 3), (2,), ("1", "2", "x"), (1, 2, 3)):
        both(lambda lib, wanted=wanted: lib.serialization.check_module_version_greater_or_equal(Module, wanted))
    for lib in LIBS:
        with pytest.warns(UserWarning, match="is malformed '1.2.x' and cannot be compared with tuple"):
            assert lib.serialization.check_module_version_greater_or_equal(Module, (1, 2, 3), error_if_malformed=False)
        with lib.serialization.mkdtemp() as folder:
            assert os.path.isdir(folder)
        assert not os.path.exists(folder)


def test_small_names_of_jit_and_layers():
    both(lambda lib: lib.jit.Attribute(3, int), lambda lib: [c.__name__ for c in lib.onnx.OnnxExporterError.__mro__],
         lambda lib: lib.nn.factory_kwargs(None), lambda lib: lib.nn.factory_kwargs({"dtype": 3}),
         lambda lib: lib.nn.factory_kwargs({"dtype": 3, "factory_kwargs": {"device": 4}}),
         lambda lib: lib.nn.factory_kwargs({"dtype": 3, "factory_kwargs": {"dtype": 4}}),
         lambda lib: lib.nn.factory_kwargs({"other": 3}), lambda lib: lib.nn.factory_kwargs({"factory_kwargs": {"other": 4}}))
    assert ng.jit.Error is ng.JITException and ng.jit.Future is ng.futures.Future
    for lib in LIBS:
        with pytest.warns(UserWarning, match="Only works in script mode"), lib.jit.strict_fusion():
            pass

    def dispatched(lib):
        def yes(x, flag=False):
            """Says yes."""
            return x, "yes"

        def no(x, flag=False):
            return x, "no"
        fn = lib.nn.functional.boolean_dispatch("flag", 1, False, yes, no, "here", "fn")
        try:
            lib.nn.functional.boolean_dispatch("flag", 1, False, yes, no, None, None)
        except RuntimeError as e:
            return fn(1), fn(1, True), fn(1, flag=True), fn.__doc__, fn.__module__, fn.__name__, no.__doc__, str(e)
    both(dispatched)


def test_groups_of_backwards():
    def nested(lib):
        group = lib.utils.checkpoint.GraphExecGroup()
        with group as inside:
            assert inside is group
        with group:
            x = lib.ones(2, requires_grad=True)
            lib.utils.checkpoint.checkpoint(lambda x: x * x, x, use_reentrant=False).sum().backward()
            assert x.grad.tolist() == [2, 2]
            try:
                with lib.utils.checkpoint.GraphExecGroup():
                    pass
            except RuntimeError as e:
                return str(e).split(" <")[0]
    both(nested)
