"""Names that scripts ask for beside the ops, as PyTorch has them: symbolic numbers, streams, futures, hooks, swaps."""

from __future__ import annotations

import threading
import warnings

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
                   ((3, 2), (2,), (3,)), ((3, 2), (1,), (3, 3)), ((3, 2), (2, 2), (3, 3))):
        both(lambda lib, shapes=shapes: lib.ormqr(*[lib.ones(s) for s in shapes]).shape)
    both(lambda lib: lib.ormqr(lib.ones(3, 2), lib.ones(2, dtype=lib.float64), lib.ones(3, 3)))
    args = [ng.rand(*s, dtype=ng.float64, requires_grad=True) for s in ((3, 2), (2,), (3, 2))]
    assert ng.autograd.gradcheck(ng.ormqr, args)


def test_modes_that_change_nothing():
    def run(lib):
        x = lib.ones(2, requires_grad=True)
        with lib.autograd.set_multithreading_enabled(False), lib.autograd.enforce_grad_layout_policy(False):
            (x * 2).sum().backward()
        lib.autograd.graph.set_override_stale_capture_stream(False)
        lib.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(True)
        return x.grad
    both(run, lambda lib: lib.autograd.graph.region_activation_memory_budget(0.5))
