"""Custom Functions: saving, marks, several outputs, gradients checked and fitted, double backward."""

import gc
import weakref

import pytest
from parity import agrees, said

import numbagrad as ng
from numbagrad.autograd import Function


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


def make(T, forward, backward=None, name="Fn", **more):
    """A Function of the library with the given static methods."""
    methods = {"forward": staticmethod(forward), **{k: staticmethod(v) for k, v in more.items()}}
    if backward is not None:
        methods["backward"] = staticmethod(backward)
    return type(T.autograd.Function)(name, (T.autograd.Function,), methods)


def double(ctx, x):
    return x * 2


def times2(ctx, g):
    return g * 2


def test_double_backward():
    def code(T):
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        def backward(ctx, g):
            x, = ctx.saved_tensors
            return g * 3 * x**2
        x = leaf(T, 1., 2.)
        y = make(T, forward, backward).apply(x)
        out = [y]
        for _ in range(3):
            y, = T.autograd.grad(y.sum(), x, create_graph=True)
            out.append(y.detach())
        return out
    agrees(code, "tensor([1., 8.], grad_fn=<FnBackward>)\ntensor([ 3., 12.])\ntensor([ 6., 12.])\ntensor([6., 6.])")


def test_saved_output_keeps_its_history():
    def code(T):
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y, None, x)
            return y

        def backward(ctx, g):
            y, nothing, x = ctx.saved_tensors
            assert nothing is None
            return g * y
        x = leaf(T, 0.5)
        y = make(T, forward, backward).apply(x)
        g, = T.autograd.grad(y, x, create_graph=True)
        h, = T.autograd.grad(g, x, create_graph=True)
        return y, g, h, y.grad_fn.saved_tensors
    agrees(code)


def test_setup_context():
    def code(T):
        def forward(x, k, extra=3):
            return x * k + extra, x * 1

        def setup_context(ctx, inputs, output):
            x, k, extra = inputs
            ctx.k, ctx.extra = k, extra
            ctx.save_for_backward(x, output[1])

        def backward(ctx, g, h):
            x, y = ctx.saved_tensors
            return g * ctx.k + h * y, None, None
        F = make(T, forward, backward, setup_context=setup_context)
        x = leaf(T, 1., 2.)
        a, b = F.apply(x, k=2)
        (a + b).sum().backward()
        return a, b, x.grad, a.grad_fn.extra
    agrees(code, "(tensor([5., 7.], grad_fn=<FnBackward>), tensor([1., 2.], grad_fn=<FnBackward>), tensor([3., 4.]), "
                 "3)")


def test_keyword_arguments():
    def code(T):
        F = make(T, lambda ctx, x, scale=3.: x * scale, lambda ctx, g: (g, None))
        return F.apply(leaf(T, 1.), scale=5.), F.apply(x=leaf(T, 1.))
    agrees(code, "(tensor([5.], grad_fn=<FnBackward>), tensor([3.], grad_fn=<FnBackward>))")


def test_needs_input_grad_and_grad_mode():
    def code(T):
        seen = []

        def forward(ctx, x, y, n):
            seen.append((ctx.needs_input_grad, T.is_grad_enabled(), (x * 2).requires_grad))
            return x * y

        def backward(ctx, g):
            seen.append((ctx.needs_input_grad, T.is_grad_enabled()))
            return g, None, None
        F = make(T, forward, backward)
        x = leaf(T, 1.)
        F.apply(x, T.ones(1), 3).backward()
        T.autograd.grad(F.apply(x, T.ones(1), 3), x, create_graph=True)
        with T.no_grad():
            seen.append(F.apply(x, T.ones(1), 3).requires_grad)
        return seen
    agrees(code)


def test_missing_gradients_are_zeros_or_none():
    def code(T):
        seen = []

        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x * 2, x * 3, 5, (x > 0)

        def backward(ctx, *grads):
            seen.append(grads)
            return sum(g for g in grads if g is not None and g.dtype == T.float32), None
        F = make(T, forward, backward)
        x = leaf(T, 1., 2.)
        F.apply(x, True)[1].sum().backward()
        F.apply(x, False)[0].sum().backward()
        return seen, x.grad, F.apply(x, True)
    agrees(code)


def test_none_gradient_reaches_the_next_function():
    def code(T):
        first = make(T, double, lambda ctx, g: g * 2, "First")
        second = make(T, double, lambda ctx, g: None, "Second")
        x, log = leaf(T, 1., 2.), []
        m = first.apply(x) * 3
        m.register_hook(lambda g: log.append(g))
        second.apply(m).sum().backward()
        y = leaf(T, 1.)
        second.apply(y).backward()
        return x.grad, log, y.grad
    agrees(code, "(tensor([0., 0.]), [None], None)")


def test_mark_non_differentiable():
    def code(T):
        def forward(ctx, x):
            a, b = x * 2, x * 3
            ctx.mark_non_differentiable(b)
            return a, b

        def backward(ctx, g, h):
            return g * 2 + h
        x = leaf(T, 1.)
        a, b = make(T, forward, backward).apply(x)
        a.backward()
        return a, b, x.grad
    agrees(code, "(tensor([2.], grad_fn=<FnBackward>), tensor([3.]), tensor([2.]))")


def dirty(ctx, x):
    ctx.mark_dirty(x)
    x.mul_(2)
    return x


def test_mark_dirty():
    def code(T):
        F = make(T, dirty, times2)
        x = leaf(T, 1., 2.)
        y = x * 1
        z = F.apply(y)
        out = [z is y, y, y._version]
        y.sum().backward()
        n = T.ones(2)
        return [*out, x.grad, F.apply(n) is n, n]
    agrees(code, "True\ntensor([2., 4.], grad_fn=<FnBackward>)\n2\ntensor([2., 2.])\nTrue\ntensor([2., 2.])")


def test_mark_dirty_on_a_view():
    def code(T):
        F = make(T, dirty, times2)
        x = leaf(T, 1., 2.)
        base = x * 1
        part = base[0]
        F.apply(part)
        (base * T.tensor([1., 10.])).sum().backward()
        return part, base, x.grad
    agrees(code, "(tensor(2., grad_fn=<AsStridedBackward0>), tensor([2., 2.], grad_fn=<CopySlices>), tensor([ 2., "
                 "10.]))")


def test_mark_dirty_with_the_view_second():
    def forward(ctx, a, x):
        ctx.mark_dirty(x)
        ctx.save_for_backward(a)
        x.mul_(2)
        return x

    def backward(ctx, g):
        return g * 0 + 7, g * 2
    F = make(ng, forward, backward)
    a, x = leaf(ng, 5.), leaf(ng, 1., 2.)
    base = x * 1
    F.apply(a, base[:1])
    base.sum().backward()
    assert a.grad.tolist() == [7.] and x.grad.tolist() == [2., 1.]


def test_returning_an_input():
    def code(T):
        F = make(T, lambda ctx, x: x, times2)
        x, n = leaf(T, 1., 2.), T.ones(2)
        y, m = F.apply(x), F.apply(n)
        y.sum().backward()
        return (y is x, y, y._is_view(), y.data_ptr() == x.data_ptr(), x.grad, m is n, m, m._is_view())
    agrees(code, "(False, tensor([1., 2.], grad_fn=<FnBackward>), True, True, tensor([2., 2.]), False, tensor([1., "
                 "1.]), True)")


def test_returning_a_view_of_an_input():
    def code(T):
        F = make(T, lambda ctx, x: x.view(2, 1), lambda ctx, g: g.view(2) * 3)
        x = leaf(T, 1., 2.)
        y = F.apply(x)
        y.sum().backward()
        return y, x.grad
    agrees(code)


def test_complex_functions():
    def code(T):
        F = make(T, lambda ctx, z: z.real * 1, lambda ctx, g: g)
        z = T.tensor([1 + 2j], requires_grad=True)
        F.apply(z).sum().backward()
        return z.grad
    agrees(code, "tensor([1.+0.j])")
    with pytest.raises(RuntimeError, match="expected a real gradient for an input of torch.float32 but got "
                                           "torch.complex64"):
        make(ng, double, lambda ctx, g: g * (1 + 2j)).apply(leaf(ng, 1.)).backward()


def test_gradients_are_fitted():
    def code(T):
        F = make(T, double, lambda ctx, g: T.ones(3, 2, dtype=T.double))
        x = leaf(T, 1., 2.)
        F.apply(x).sum().backward()
        return x.grad
    agrees(code, "tensor([3., 3.])")


def use(T, forward, backward, *more):
    return make(T, forward, backward, "S").apply(leaf(T, 1., 2.), *more).sum().backward()


MISUSE = [
    lambda T: use(T, lambda ctx, x, y: x + y, lambda ctx, g: g, T.ones(2)),
    lambda T: use(T, lambda ctx, x, y: x * y, lambda ctx, g: (g, g, g), 2.),
    lambda T: use(T, lambda ctx, x, y: x * y, lambda ctx, g: (g, g), 2.),
    lambda T: use(T, double, lambda ctx, g: 3.),
    lambda T: use(T, double, lambda ctx, g: T.zeros(3)),
    lambda T: use(T, double, lambda ctx, g: T.zeros(())),
    lambda T: use(T, double, None),
    lambda T: use(T, lambda ctx, x: ctx.save_for_backward(3), None),
    lambda T: use(T, dirty, times2),
    lambda T: make(T, lambda ctx, x: ctx.mark_dirty(x) or x * 2, times2).apply(leaf(T, 1.) * 1),
    lambda T: make(T, lambda ctx, x: x, times2).apply(leaf(T, 1.)).mul_(2),
    lambda T: make(T, lambda ctx, x: x.view(1, 1), times2).apply(leaf(T, 1.)).mul_(2),
    lambda T: make(T, lambda ctx, x: (ctx.mark_dirty(x), (x.mul_(2), x * 3))[1], lambda ctx, g, h: g).apply(
        (leaf(T, 1., 2.) * 1)[:1]),
    lambda T: type(T.autograd.Function)("S", (T.autograd.Function,), {}).apply(leaf(T, 1.)),
    lambda T: make(T, double, times2)()(leaf(T, 1.)),
    lambda T: make(T, double, times2, vjp=times2).apply(leaf(T, 1.)).backward(),
    lambda T: make(T, double, times2).apply(leaf(T, 1.), 3),
]


@pytest.mark.parametrize("code", MISUSE)
def test_misuse(code):
    text = said(ng, code)
    if "takes 2 positional arguments" in text:
        assert text.startswith("TypeError")
        return
    assert "Error: " in agrees(code)


def test_freed_and_modified_saved_tensors():
    def keep(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    def code(T):
        F = make(T, keep, lambda ctx, g: g * ctx.saved_tensors[0])
        y = F.apply(leaf(T, 1.))
        y.backward()
        y.backward()
    assert "a second time" in agrees(code)

    def twice(T):
        F = make(T, keep, lambda ctx, g: g * 2)
        x = leaf(T, 1.)
        y = F.apply(x)
        y.backward()
        y.backward()
        return x.grad
    agrees(twice, "tensor([4.])")

    x = leaf(ng, 1.) * 1
    y = make(ng, keep, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: .* saved by FnBackward and modified at .*"
                                           "test_function.py"):
        y.backward()


def test_dirty_noninput_warns():
    def forward(ctx, x):
        y = x * 2
        ctx.mark_dirty(y)
        return y
    with pytest.warns(UserWarning, match="mark_dirty\\(\\) received a tensor that was not an input"):
        assert make(ng, forward, times2).apply(leaf(ng, 1.)).requires_grad


def test_once_differentiable():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @ng.autograd.function.once_differentiable
        def backward(ctx, g):
            assert not ng.is_grad_enabled()
            return g * 2 * ctx.saved_tensors[0]
    x, v = leaf(ng, 3.), leaf(ng, 1.)
    y = Square.apply(x)
    y.backward()
    assert x.grad.tolist() == [6.]
    g, = ng.autograd.grad(Square.apply(x), x, v, create_graph=True)
    assert g.requires_grad
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was marked with "
                                           "@once_differentiable"):
        g.backward()


def test_names_and_attributes():
    def code(T):
        class MyReLU(T.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.note = "kept"
                return x.clamp(min=0)

            @staticmethod
            def backward(ctx, g):
                return g
        y = MyReLU.apply(leaf(T, -1., 1.))
        return (y, y.grad_fn, y.grad_fn.name(), type(y.grad_fn).__name__, y.grad_fn.note, y.grad_fn.next_functions,
                y.grad_fn.needs_input_grad, y.grad_fn.saved_tensors)
    agrees(code)


def test_hooks_on_a_function_node():
    def code(T):
        log, x = [], leaf(T, 1.)
        y = make(T, double, times2).apply(x)
        y.grad_fn.register_hook(lambda i, o: log.append((i, o)))
        y.register_hook(lambda g: g * 3)
        y.backward()
        return log, x.grad
    agrees(code, "([((tensor([6.]),), (tensor([3.]),))], tensor([6.]))")


def test_nothing_keeps_the_context_alive():
    gc.disable()
    try:
        refs = []

        def forward(ctx, x):
            ctx.big = type("Big", (), {})()
            refs.append(weakref.ref(ctx.big))
            y = x * 2
            ctx.save_for_backward(x, y)
            return y
        F = make(ng, forward, lambda ctx, g: g * ctx.saved_tensors[0])
        x = leaf(ng, 1.)
        F.apply(x).backward()
        F.apply(x)
        assert [r() for r in refs] == [None, None]
    finally:
        gc.enable()


def test_what_is_not_defined_says_so():
    with pytest.raises(NotImplementedError, match="must either override the vmap staticmethod or set generate_vmap_rule=True"):
        Function.vmap(None, None)
    with pytest.raises(NotImplementedError, match="NestedIOFunction"):
        ng.autograd.function.NestedIOFunction.apply([ng.ones(1)])


def test_gradcheck_of_a_function_of_several_outputs():
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b, a + b, a.sum()

    def backward(ctx, g, h, s):
        a, b = ctx.saved_tensors
        return g * b + h + s, g * a + h
    F = make(ng, forward, backward)
    a, b = (ng.tensor(v, dtype=ng.float64, requires_grad=True) for v in ([1., 2.], [3., -1.]))
    assert ng.autograd.gradcheck(F.apply, (a, b)) and ng.autograd.gradgradcheck(F.apply, (a, b))
