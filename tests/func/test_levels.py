"""``grad``, ``vjp``, ``jvp``, Jacobians and Hessians, nested in each other and in ``vmap``, as PyTorch has them."""

import collections
import gc
import warnings

import numpy as np
import pytest
from sides import W, X, same

import numbagrad as ng
from numbagrad.dispatch import overriding


def curved(x):
    return (x.sin() * x).sum()


def mixed(x):
    return x.sin() * x.sum()


CODES = {
    "grad": lambda T, x, w: T.func.grad(curved)(x),
    "grad_of_grad": lambda T, x, w: T.func.grad(lambda y: T.func.grad(curved)(y).exp().sum())(x),
    "grad_argnums": lambda T, x, w: T.func.grad(lambda a, b: (a @ b).tanh().sum(), argnums=(1, 0))(x, w),
    "grad_negative": lambda T, x, w: T.func.grad(lambda a, b: (a @ b).tanh().sum(), argnums=-1)(x, w),
    "grad_dict": lambda T, x, w: T.func.grad(lambda d: (d["x"] @ d["w"]).tanh().sum())({"x": x, "w": w}),
    "grad_aux": lambda T, x, w: T.func.grad(lambda a: (curved(a), a * 2), has_aux=True)(x),
    "grad_and_value": lambda T, x, w: T.func.grad_and_value(lambda a: (curved(a), (a * 2, a)), has_aux=True)(x),
    "grad_unused": lambda T, x, w: T.func.grad(lambda a, b: a.sum(), argnums=(0, 1))(x, w),
    "grad_constant": lambda T, x, w: T.func.grad(lambda a: T.ones(()))(x),
    "grad_kwargs": lambda T, x, w: T.func.grad(lambda a, b=None: (a @ b).sum())(x, b=w),
    "vjp": lambda T, x, w: T.func.vjp(lambda a: (a.sin(), a.sum(0)), x)[1]((x, w[0])),
    "vjp_values": lambda T, x, w: T.func.vjp(lambda a: {"y": a.sin(), "z": (a,)}, x)[0],
    "vjp_aux": lambda T, x, w: T.func.vjp(lambda a: (a.sin(), a.cos()), x, has_aux=True)[2],
    "vjp_in_vmap": lambda T, x, w: T.vmap(lambda a: T.func.vjp(lambda b: (w @ b).tanh(), a)[1](a))(x),
    "jvp": lambda T, x, w: T.func.jvp(lambda a: (a @ a.T, a.cumsum(0)), (x,), (x * x,)),
    "jvp_aux": lambda T, x, w: T.func.jvp(lambda a: (a.exp(), a.sin()), (x,), (x,), has_aux=True),
    "jvp_constant": lambda T, x, w: T.func.jvp(lambda a: (a * 2, w), (x,), (x,)),
    "jvp_of_jvp": lambda T, x, w: T.func.jvp(lambda a: T.func.jvp(lambda b: (b @ w).tanh() * a, (a,), (a * a,))[1], (x,), (x,)),
    "jvp_of_grad": lambda T, x, w: T.func.jvp(T.func.grad(lambda a: (a @ w).tanh().sum()), (x,), (x * 2,)),
    "grad_of_jvp": lambda T, x, w: T.func.grad(lambda a: T.func.jvp(lambda b: (b @ w).tanh(), (a,), (a,))[1].sum())(x),
    "jvp_in_vmap": lambda T, x, w: T.vmap(lambda a: T.func.jvp(lambda b: T.softmax(b, 0), (a,), (a * a,)))(x),
    "vmap_in_jvp": lambda T, x, w: T.func.jvp(lambda a: T.vmap(lambda r: T.softmax(r, 0))(a), (x,), (x * x,)),
    "grad_in_vmap": lambda T, x, w: T.vmap(T.func.grad(curved))(x),
    "vmap_in_grad": lambda T, x, w: T.func.grad(lambda a: T.vmap(T.func.grad(curved))(a).pow(2).sum())(x),
    "per_sample": lambda T, x, w: T.vmap(T.func.grad(lambda m, a: (m @ a).tanh().sum()), (None, 0))(w, x),
    "per_sample_linear": lambda T, x, w: T.vmap(T.func.grad(lambda m, a: T.nn.functional.linear(a, m).tanh().sum()),
                                                (None, 0))(w, x),
    "jacrev": lambda T, x, w: T.func.jacrev(mixed)(x),
    "jacrev_tuple": lambda T, x, w: T.func.jacrev(lambda a, b: (a @ b, b.exp()), argnums=(0, 1))(x, w),
    "jacrev_chunks": lambda T, x, w: T.func.jacrev(mixed, chunk_size=5)(x),
    "jacrev_rows": lambda T, x, w: T.func.jacrev(mixed, chunk_size=1)(x),
    "jacrev_aux": lambda T, x, w: T.func.jacrev(lambda a: (mixed(a), a + 1), has_aux=True)(x),
    "jacrev_dict": lambda T, x, w: T.func.jacrev(lambda d: {"y": d["a"] * 2})({"a": x}),
    "jacrev_in_vmap": lambda T, x, w: T.vmap(T.func.jacrev(mixed))(x),
    "jacrev_of_jacrev": lambda T, x, w: T.func.jacrev(T.func.jacrev(lambda a: mixed(a).exp()))(x[0]),
    "jacfwd": lambda T, x, w: T.func.jacfwd(mixed)(x),
    "jacfwd_tuple": lambda T, x, w: T.func.jacfwd(lambda a, b: (a @ b, b.exp()), argnums=(0, 1))(x, w),
    "jacfwd_aux": lambda T, x, w: T.func.jacfwd(lambda a: (mixed(a), a + 1), has_aux=True)(x),
    "jacfwd_in_vmap": lambda T, x, w: T.vmap(T.func.jacfwd(mixed))(x),
    "jacfwd_of_jacfwd": lambda T, x, w: T.func.jacfwd(T.func.jacfwd(lambda a: mixed(a).exp()))(x[0]),
    "jacrev_of_jacfwd": lambda T, x, w: T.func.jacrev(T.func.jacfwd(lambda a: mixed(a).exp()))(x[0]),
    "hessian": lambda T, x, w: T.func.hessian(lambda a: mixed(a).prod())(x),
    "hessian_in_vmap": lambda T, x, w: T.vmap(T.func.hessian(lambda a: mixed(a).prod()))(x),
    "hessian_argnums": lambda T, x, w: T.func.hessian(lambda a, b: (a @ b).sin().sum(), argnums=(0, 1))(x, w),
    "linearize": lambda T, x, w: T.func.linearize(lambda a: (a @ w).tanh(), x)[1](x * 2),
    "linearize_value": lambda T, x, w: T.func.linearize(lambda a: (a @ w).tanh(), x)[0],
    "functionalize": lambda T, x, w: T.func.functionalize(lambda a: (a * 1).mul_(2).view(-1).add_(1))(x),
    "inner_no_grad": lambda T, x, w: T.func.grad(lambda a: (a**2 - frozen(T, a)).sum())(x),
    "confusion": lambda T, x, w: T.func.grad(lambda a: a * T.func.grad(lambda b: a + b)(a))(x[0, 0]),
    "pde": lambda T, x, w: T.vmap(lambda p: T.func.jvp(T.func.grad(curved), (p,), (w[0],))[1])(x),
    "maml": lambda T, x, w: T.func.grad(lambda m: T.vmap(lambda a: inner_step(T, m, a))(x).sum())(w),
}


def frozen(T, a):
    with T.no_grad():
        return a**2


def inner_step(T, m, a):
    def loss(v):
        return (v @ a).tanh().pow(2).sum()
    return loss(m - 0.1 * T.func.grad(loss)(m))


@pytest.mark.parametrize("name", CODES)
def test_values(name, torch):
    same(torch, lambda T: CODES[name](T, T.tensor(X), T.tensor(W)))


@pytest.mark.parametrize("name", ["grad", "jvp", "jacrev", "hessian", "grad_in_vmap", "linearize_value", "vjp_values"])
def test_what_is_outside_of_a_transform_is_recorded_as_ever(name, torch):
    """Second derivatives by ``backward`` of a result, with respect to a tensor that required grad before."""
    def code(T):
        x = T.tensor(X, requires_grad=True)
        out = CODES[name](T, x, T.tensor(W))
        out = out[0] if isinstance(out, tuple) else out["y"] if isinstance(out, dict) else out
        return out, T.autograd.grad(out.sum(), x, allow_unused=True)[0]
    same(torch, code)


@pytest.mark.parametrize("name", ["grad", "vjp", "jacrev", "hessian", "per_sample"])
def test_recording_that_is_switched_off_outside_does_not_matter(name, torch):
    def code(T):
        with T.no_grad():
            return CODES[name](T, T.tensor(X, requires_grad=True), T.tensor(W))
    same(torch, code)


def test_a_closure_keeps_its_history(torch):
    def code(T):
        p = T.tensor(W, requires_grad=True)
        g = T.func.grad(lambda a: (a @ p).tanh().sum())(T.tensor(X))
        return g, T.autograd.grad(g.pow(2).sum(), p)[0]
    same(torch, code)


ERRORS = {
    "grad_of_vector": lambda T, x: T.func.grad(lambda a: a)(x),
    "grad_of_number": lambda T, x: T.func.grad(lambda a: 3)(x),
    "grad_argnums": lambda T, x: T.func.grad(curved, argnums=2)(x),
    "grad_twice": lambda T, x: T.func.grad(curved, argnums=(0, 0))(x),
    "grad_none": lambda T, x: T.func.grad(curved, argnums=())(x),
    "grad_text": lambda T, x: T.func.grad(curved, argnums="x")(x),
    "grad_aux": lambda T, x: T.func.grad(curved, has_aux=True)(x),
    "grad_aux_type": lambda T, x: T.func.grad(lambda a: (curved(a), 3), has_aux=True)(x),
    "grad_leaf": lambda T, x: T.func.grad(lambda a: a.sum())(3.0),
    "vjp_empty": lambda T, x: T.func.vjp(lambda a: (), x),
    "vjp_type": lambda T, x: T.func.vjp(lambda a: (a, 3), x),
    "vjp_structure": lambda T, x: T.func.vjp(lambda a: (a, a), x)[1](x),
    "jvp_primals": lambda T, x: T.func.jvp(curved, x, (x,)),
    "jvp_structure": lambda T, x: T.func.jvp(curved, (x,), (x, x)),
    "jvp_strict": lambda T, x: T.func.jvp(lambda a: x, (x,), (x,), strict=True),
    "jvp_type": lambda T, x: T.func.jvp(lambda a: 3, (x,), (x,)),
    "jvp_empty": lambda T, x: T.func.jvp(curved, (), ()),
    "jacrev_chunks": lambda T, x: T.func.jacrev(curved, chunk_size=0),
    "jacrev_complex": lambda T, x: T.func.jacrev(curved)(x.to(T.complex128)),
    "jacfwd_complex": lambda T, x: T.func.jacfwd(curved)(x.to(T.complex128)),
    "functionalize": lambda T, x: T.func.functionalize(curved, remove="all"),
    "linearize_shape": lambda T, x: T.func.linearize(curved, x)[1](x[0]),
    "requires_grad": lambda T, x: T.vmap(lambda a: a.requires_grad_())(x),
    "backward": lambda T, x: T.vmap(lambda a: a.sum().backward())(x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, torch):
    same(torch, lambda T: ERRORS[name](T, T.tensor(X)))


def small_model(T):
    T.manual_seed(0)
    nn = T.nn
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(16, 5), nn.LayerNorm(5)).double()


def images(T, n=6):
    import numpy as np
    return T.tensor(np.random.default_rng(1).normal(size=(n, 2, 4, 4)))


@pytest.mark.parametrize("what", ["per_sample", "jvp", "jacrev", "ensemble"])
def test_modules(what, torch):
    def code(T):
        net = small_model(T)
        p, x = {k: v.detach() for k, v in net.named_parameters()}, images(T)
        call = T.func.functional_call
        if what == "per_sample":
            t = T.tensor([0, 1, 2, 3, 4, 0])
            return T.vmap(T.func.grad(lambda p, x, t: T.nn.functional.cross_entropy(call(net, p, (x[None],)), t[None])),
                          (None, 0, 0))(p, x, t)
        if what == "jvp":
            return T.func.jvp(lambda p: call(net, p, (x,)), (p,), ({k: v * 0.1 for k, v in p.items()},))
        if what == "jacrev":
            return T.func.jacrev(lambda p: call(net, p, (x[:2],)))(p)
        nets = [small_model(T), small_model(T), small_model(T)]
        params, buffers = T.func.stack_module_state(nets)
        return params, T.vmap(lambda p, b, x: call(nets[0], (p, b), (x,)), (0, 0, None))(params, buffers, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if what != "ensemble":
            code(ng)
    same(torch, code)


def test_functional_call_and_stacked_state_complain_as_pytorch(torch):
    for code in (lambda T: T.func.functional_call(T.nn.Linear(2, 2), 3, T.ones(2)),
                 lambda T: T.func.functional_call(T.nn.Linear(2, 2), [3], T.ones(2)),
                 lambda T: T.func.functional_call(T.nn.Linear(2, 2), [{"bias": T.ones(2)}, {"bias": T.ones(2)}], T.ones(2)),
                 lambda T: T.func.functional_call(T.nn.Linear(2, 2), {"none": T.ones(2)}, T.ones(2), strict=True),
                 lambda T: T.func.stack_module_state([]),
                 lambda T: T.func.stack_module_state([T.nn.Linear(2, 2), T.nn.Linear(2, 2).eval()]),
                 lambda T: T.func.stack_module_state([T.nn.Linear(2, 2), T.nn.ReLU()]),
                 lambda T: T.func.stack_module_state([T.nn.Linear(2, 2), T.nn.Linear(2, 2).requires_grad_(False)])):
        same(torch, code)


def test_batch_norm_without_running_statistics(torch):
    def code(T):
        net = T.func.replace_all_batch_norm_modules_(T.nn.Sequential(T.nn.BatchNorm1d(3), T.nn.Sequential(T.nn.BatchNorm1d(3))))
        return [m.running_mean is None and not m.track_running_stats for m in net.modules() if hasattr(m, "running_mean")]
    same(torch, code)


def test_hooks_of_saved_tensors_are_refused(torch):
    def code(T):
        def f(x):
            with T.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                return curved(x)
        return T.func.grad(f)(T.tensor(X))
    same(torch, code)


def test_a_tensor_that_escapes_is_refused():
    kept = []
    ng.vmap(lambda x: kept.append(x) or x)(ng.ones(2, 3))
    with pytest.raises(RuntimeError, match="escaped"):
        kept[0] + 1
    with pytest.raises((RuntimeError, TypeError)):
        kept[0].numpy()


def test_absent_names_say_so():
    with pytest.raises(AttributeError, match="torch.func.rearrange is not available here: the einops package has it"):
        ng.func.rearrange  # noqa: B018
    assert set(ng.func.__all__) <= set(dir(ng.func))


def test_threads_do_not_see_each_other():
    import threading
    inside, done, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        seen.append(ng.rand(3).shape)  # a batch of another thread is none of this one's
        seen.append(ng.func.grad(curved)(ng.ones(3)).shape)
        done.set()
    thread = threading.Thread(target=other)
    thread.start()

    def f(x):
        inside.set()
        assert done.wait(60)
        return x * 2
    assert ng.vmap(f)(ng.ones(2, 3)).shape == (2, 3)
    thread.join()
    assert seen == [(3,), (3,)]


def test_structures(torch):
    Pair = collections.namedtuple("Pair", "a b")
    same(torch, lambda T: T.func.grad(lambda p: (p.a * p.b).sum())(Pair(T.tensor(X), T.tensor(X) * 2)).b)
    same(torch, lambda T: T.vmap(lambda p: Pair(p.a + p.b, p.a))(Pair(T.tensor(X), T.tensor(X) * 2)))
    same(torch, lambda T: T.vmap(lambda d: collections.OrderedDict(z=d[0]["x"] * 2, y=d[1]))([{"x": T.tensor(X)}, T.tensor(X)]))


def tensors():
    found = {}
    for o in gc.get_objects():
        try:
            if issubclass(type(o), ng.Tensor):
                found[id(o)] = o
        except ReferenceError:
            pass
    return found


@pytest.mark.parametrize("name", ["grad", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "grad_in_vmap", "hessian_in_vmap",
                                  "linearize"])
def test_nothing_waits_for_the_garbage_collector(name):
    x, w = ng.tensor(X), ng.tensor(W)
    CODES[name](ng, x, w)
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        CODES[name](ng, x, w)
        assert not [t for i, t in tensors().items() if i not in before]
    finally:
        gc.enable()


def test_tensors_of_inference_mode():
    with ng.inference_mode():
        x = ng.tensor(X)
        assert ng.vmap(ng.func.grad(curved))(x).shape == (4, 3)


SUBCLASSES = {
    "grad": lambda T, s: T.func.grad(lambda x: (x * x).sum())(s),
    "grad_aux": lambda T, s: T.func.grad_and_value(lambda x: ((x * x).sum(), x * 2), has_aux=True)(s),
    "grad_of_grad": lambda T, s: T.func.grad(lambda y: T.func.grad(lambda x: (x * x * x).sum())(y).sum())(s),
    "vjp": lambda T, s: (T.func.vjp(T.sin, s)[0], T.func.vjp(T.sin, s)[1](T.ones(3))),
    "jvp": lambda T, s: T.func.jvp(T.sin, (s,), (T.ones(3),)),
    "jacrev": lambda T, s: T.func.jacrev(T.sin)(s),
    "jacfwd": lambda T, s: T.func.jacfwd(T.sin)(s),
    "hessian": lambda T, s: T.func.hessian(lambda x: (x * x * x).sum())(s),
    "vmap": lambda T, s: T.func.vmap(lambda x: x * 2)(s),
    "vmap_grad": lambda T, s: T.func.vmap(T.func.grad(lambda x: x * x))(s),
}


@pytest.fixture
def _asking_ends():
    """Functions of later tests ask nobody."""
    yield
    while "classes" in overriding._held:
        overriding.release("classes")


@pytest.mark.usefixtures("_asking_ends")
@pytest.mark.parametrize("name", SUBCLASSES)
def test_of_a_class_below_tensor_they_give_plain_tensors(name):
    torch, found = pytest.importorskip("torch"), []
    for T in (ng, torch):
        class Sub(T.Tensor):
            pass
        result = SUBCLASSES[name](T, T.tensor([1.0, 2.0, 3.0]).as_subclass(Sub))
        parts = []
        for part in result if isinstance(result, tuple) else (result,):
            parts += part if isinstance(part, tuple) else [part]
        assert all(type(part) is T.Tensor for part in parts)
        found.append([part.detach().numpy().tolist() for part in parts])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_who_asks_is_told_of_every_transform():
    torch, found = pytest.importorskip("torch"), []
    for T in (ng, torch):
        seen, x = [], T.ones(3)

        def f(x, T=T, seen=seen):
            seen.append(T._C._are_functorch_transforms_active())
            return (x * x).sum()
        with pytest.raises(ZeroDivisionError):
            T.func.grad(lambda x: 1 // 0)(x)
        seen.append(T._C._are_functorch_transforms_active())
        for call in (T.func.grad(f), T.func.grad_and_value(f), lambda x, T=T, f=f: T.func.vjp(f, x), T.func.jacrev(f),
                     T.func.jacfwd(f), T.func.hessian(f), T.func.vmap(f), T.func.functionalize(f), f):
            call(x)
        found.append(seen)
    assert found[0] == found[1]
