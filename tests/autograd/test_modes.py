"""Grad modes: contexts, decorators, generators, plain calls, threads, inference mode."""

import threading

import pytest
from parity import agrees, said

import numbagrad as ng


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


def test_contexts_nest():
    def code(T):
        out = [T.is_grad_enabled()]
        with T.no_grad():
            out.append(T.is_grad_enabled())
            with T.enable_grad():
                out.append(T.is_grad_enabled())
                with T.set_grad_enabled(False):
                    out.append(T.is_grad_enabled())
                out.append(T.is_grad_enabled())
            out.append(T.is_grad_enabled())
        return [*out, T.is_grad_enabled()]
    agrees(code, "True\nFalse\nTrue\nFalse\nTrue\nFalse\nTrue")


def test_decorators():
    def code(T):
        @T.no_grad()
        def a(x):
            "text"
            return x * 2

        @T.no_grad
        def b(x):
            return x * 2

        @T.enable_grad()
        def c(x):
            return x * 2

        @T.set_grad_enabled(False)
        def d(x):
            return x * 2

        @T.inference_mode()
        def e(x):
            return x * 2

        @T.inference_mode
        def f(x):
            return x * 2
        x = leaf(T, 1.)
        out = [g(x).requires_grad for g in (a, b, c, d, e, f)] + [T.is_grad_enabled(), a.__name__, a.__doc__]
        with T.no_grad():
            out.append(c(x).requires_grad)
        return out
    agrees(code, "False\nFalse\nTrue\nFalse\nFalse\nFalse\nTrue\na\ntext\nTrue")


def test_generators():
    def code(T):
        log = []

        @T.no_grad()
        def steps(n):
            try:
                for i in range(n):
                    log.append(T.is_grad_enabled())
                    got = yield i
                    log.append((got, T.is_grad_enabled()))
            except ValueError as e:
                log.append((str(e), T.is_grad_enabled()))
                yield "caught"
            finally:
                log.append(("end", T.is_grad_enabled()))
            return "result"
        g = steps(3)
        log.append((next(g), T.is_grad_enabled()))
        log.append((g.send("sent"), T.is_grad_enabled()))
        log.append((g.throw(ValueError("thrown")), T.is_grad_enabled()))
        try:
            next(g)
        except StopIteration as stop:
            log.append(stop.value)
        h = steps(2)
        next(h)
        h.close()
        log.append(T.is_grad_enabled())
        return log
    agrees(code)


def test_exceptions_restore_the_mode():
    with pytest.raises(ZeroDivisionError):
        with ng.no_grad():
            raise ZeroDivisionError

    @ng.no_grad()
    def fail():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        fail()
    assert ng.is_grad_enabled() and not ng.base.modes.STATE


def test_plain_calls():
    def code(T):
        x = leaf(T, 1.)
        T.set_grad_enabled(False)
        a = (x * 2).requires_grad
        T.set_grad_enabled(True)
        return a, (x * 2).requires_grad
    agrees(code, "(False, True)")
    assert not ng.base.modes.STATE


MISUSE = [
    lambda T: T.set_grad_enabled(1),
    lambda T: T.no_grad()(type("C", (), {"on": property(lambda self: T.is_grad_enabled())}))().on,
]


@pytest.mark.parametrize("code", MISUSE)
def test_misuse(code):
    agrees(code)


def test_in_place_and_out_in_no_grad():
    def code(T):
        x, out = leaf(T, 1., 2.), T.zeros(2)
        with T.no_grad():
            T.add(x, 1, out=out)
            x += out
        return x, out, x.is_leaf
    agrees(code, "(tensor([3., 5.], requires_grad=True), tensor([2., 3.]), True)")


# --- inference mode ---------------------------------------------------------------------------------------------------

INFERENCE = [
    lambda T, t, x: (t.is_inference(), (t * 2).is_inference(), t[0].is_inference(), t.detach().is_inference(),
                     t.clone().is_inference(), t.requires_grad, T.is_inference_mode_enabled()),
    lambda T, t, x: t + x,
    lambda T, t, x: t * x,
    lambda T, t, x: t[0] * x,
    lambda T, t, x: x.exp() * t.clone(),
    lambda T, t, x: t.add_(1),
    lambda T, t, x: t[0].add_(1),
    lambda T, t, x: t._version,
    lambda T, t, x: t.requires_grad_(),
    lambda T, t, x: T.mv(t.view(1, 2), x),
]


@pytest.mark.parametrize("code", INFERENCE)
def test_inference_tensors(code):
    def run(T):
        with T.inference_mode():
            t = T.ones(2) * 3
        return code(T, t, leaf(T, 1., 2.))
    agrees(run)


def test_inside_inference_mode():
    def code(T):
        x = leaf(T, 1., 2.)
        with T.inference_mode():
            t = T.ones(2)
            t.add_(1)
            t[0] = 5
            y = x * t
            v = x[0]
            w = t.requires_grad_() * 2
            out = [T.is_grad_enabled(), t, y.requires_grad, y.is_inference(), v.is_inference(), w.requires_grad,
                   T.zeros(1).is_inference(), T.randn(1).is_inference(), T.tensor([1.]).is_inference(),
                   T.cat([t, t]).is_inference(), x.sum().is_inference()]
            with T.inference_mode(False):
                out += [T.is_grad_enabled(), (x * 2).requires_grad, T.ones(1).is_inference()]
            with T.enable_grad():
                out.append((x * 2).requires_grad)
        return out
    ours, _ = said(ng, code), agrees(code)
    assert ours.startswith("False\n")


def test_leaves_may_change_in_inference_mode():
    def code(T):
        x = leaf(T, 1., 2.)
        with T.inference_mode():
            x.add_(1)
        (x * x).sum().backward()
        return x.grad
    agrees(code, "tensor([4., 6.])")


# --- threads ----------------------------------------------------------------------------------------------------------

def test_each_thread_has_its_own_mode():
    seen, inside, done = [], threading.Event(), threading.Event()

    def worker():
        inside.wait(10)
        seen.append(ng.is_grad_enabled())
        with ng.no_grad():
            seen.append(ng.is_grad_enabled())
        ng.set_grad_enabled(False)
        done.set()
    thread = threading.Thread(target=worker)
    thread.start()
    with ng.no_grad():
        inside.set()
        done.wait(10)
        seen.append(ng.is_grad_enabled())
    thread.join()
    assert seen == [True, False, False] and ng.is_grad_enabled()


def test_a_finished_thread_leaves_no_mode_behind():
    before = dict(ng.base.modes.STATE)
    thread = threading.Thread(target=lambda: ng.set_grad_enabled(False))
    thread.start()
    thread.join()
    assert ng.base.modes.STATE == before


# --- inference tensors as indices -------------------------------------------------------------------------------------

INDEXED = {
    "gather": lambda T, x, i: x.gather(0, i.mT.expand(2, 4)), "index_select": lambda T, x, i: x.index_select(0, i),
    "getitem": lambda T, x, i: x[i], "two": lambda T, x, i: x[i, i], "take": lambda T, x, i: x.take(i),
    "scatter": lambda T, x, i: x.scatter(0, i.mT.expand(2, 4), 2.),
    "index_add": lambda T, x, i: x.index_add(0, i[0], x[:2]),
    "index_fill": lambda T, x, i: x.index_fill(0, i[0], 3.),
    "embedding": lambda T, x, i: T.nn.functional.embedding(i, x),
    "repeats": lambda T, x, i: T.repeat_interleave(x, T.cat((i[0], i[0, :1])), 0),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("where", ["inside", "outside", "no_grad"])
def test_inference_tensors_index(name, grad, where):
    """They are saved for backward by nobody, so what records nothing takes them, in the first call and in planned ones."""
    def code(T):
        x = T.arange(12.).view(3, 4).requires_grad_(grad)
        plain = T.tensor([[2, 0]])
        if name == "index_select":
            plain = plain[0]
        with T.inference_mode():
            index = plain.clone()
        f = INDEXED[name]
        for _ in range(12):
            if where == "inside":
                with T.inference_mode():
                    out = f(T, x, index)
            elif where == "no_grad":
                with T.no_grad():
                    out = f(T, x, index)
            else:
                f(T, x, plain)
                out = f(T, x, index)
        return out.sum().item()
    recorded = grad and where == "outside"
    if not recorded:
        assert isinstance(code(ng), float)
    agrees(code)
