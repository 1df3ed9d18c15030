"""``autograd.forward_ad``, the forward strategies of ``autograd.functional``, and many rows of gradients at once."""

import pytest
from sides import X, same

import numbagrad as ng


def test_dual_tensors(torch):
    def code(T):
        fwd = T.autograd.forward_ad
        x, t = T.tensor(X), T.tensor(X**2)
        with fwd.dual_level():
            y = fwd.make_dual(x, t)
            z = (y.sin() * 2 + y).sum(0)
            value, slope = fwd.unpack_dual(z)
            alone = fwd.unpack_dual(x)
        after = fwd.unpack_dual(z)
        return value, slope, alone.primal, alone.tangent, after.tangent, z * 2, type(after).__name__, after._fields
    same(torch, code)


def test_values_may_be_looked_at(torch):
    def code(T):
        fwd = T.autograd.forward_ad
        with fwd.dual_level():
            y = fwd.make_dual(T.tensor(X), T.tensor(X))
            return y.sum().item(), bool(y.sum() > 0), y.argmax().item(), y.tolist(), float(y[0, 0]), (y > 0)
    same(torch, code)


def test_gradients_of_slopes(torch):
    def code(T):
        fwd = T.autograd.forward_ad
        x, t = T.tensor(X, requires_grad=True), T.tensor(X**2, requires_grad=True)
        with fwd.dual_level():
            slope = fwd.unpack_dual((fwd.make_dual(x, t).sin() * 2).exp().sum()).tangent
        return T.autograd.grad(slope, (x, t))
    same(torch, code)


def test_levels(torch):
    def code(T):
        fwd = T.autograd.forward_ad
        out = [fwd.enter_dual_level()]
        fwd.exit_dual_level(level=0)
        return out
    same(torch, code)
    for code in (lambda T: T.autograd.forward_ad.make_dual(T.ones(2), T.ones(2)),
                 lambda T: T.autograd.forward_ad.exit_dual_level()):
        same(torch, code)

    @ng.autograd.forward_ad.dual_level()
    def inside():
        return ng.autograd.forward_ad.unpack_dual(ng.autograd.forward_ad.make_dual(ng.ones(2), ng.ones(2)) * 3).tangent
    assert inside().tolist() == [3, 3]


def in_level(T, make):
    fwd = T.autograd.forward_ad
    with fwd.dual_level():
        return make(fwd)


@pytest.mark.parametrize("make", [lambda T, fwd: fwd.make_dual(T.ones(2, dtype=T.int64), T.ones(2)),
                                  lambda T, fwd: fwd.make_dual(T.ones(2), T.ones(2, dtype=T.int64))])
def test_what_is_no_dual(make, torch):
    same(torch, lambda T: in_level(T, lambda fwd: make(T, fwd)))


def test_writes_in_place(torch):
    def code(T):
        def f(x):
            y = x * 1
            y.mul_(x)
            y[0] = x[1].exp()
            y[:, 1] += 2
            y[T.tensor([2, 3])] = x[:2] * 5
            out = T.zeros_like(x)
            out[1] = y[0] * y[1]
            return y, out
        return T.func.jvp(f, (T.tensor(X),), (T.tensor(X**2),)), T.func.jacfwd(f)(T.tensor(X))
    same(torch, code)


def functions(T, **how):
    class Cube(T.autograd.Function):
        generate_vmap_rule = how.get("generate", False)

        @staticmethod
        def forward(x, k):
            return x**3 * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return g * 3 * ctx.saved_tensors[0]**2 * ctx.k, None

        if how.get("jvp", True):
            @staticmethod
            def jvp(ctx, t, k):
                return t * 3 * ctx.saved_tensors[0]**2 * ctx.k
        if how.get("vmap"):
            @staticmethod
            def vmap(info, in_dims, x, k):
                assert info.batch_size == 4 and info.randomness == "error"
                return Cube.apply(x, k), in_dims[0]
    return Cube


@pytest.mark.parametrize("how", [{}, {"vmap": True}, {"generate": True}, {"vmap": True, "generate": True}, {"jvp": False}],
                         ids=str)
def test_functions_of_users(how, torch):
    for code in (lambda T: T.vmap(lambda x: functions(T, **how).apply(x, 2.0))(T.tensor(X)),
                 lambda T: T.func.jvp(lambda x: functions(T, **how).apply(x, 2.0), (T.tensor(X),), (T.tensor(X),)),
                 lambda T: T.func.grad(lambda x: functions(T, **how).apply(x, 2.0).sum())(T.tensor(X)),
                 lambda T: T.vmap(T.func.grad(lambda x: functions(T, **how).apply(x, 2.0).sum()))(T.tensor(X)),
                 lambda T: in_level(T, lambda fwd: fwd.unpack_dual(functions(T, **how).apply(fwd.make_dual(
                     T.tensor(X), T.tensor(X)), 2.0)).tangent)):
        same(torch, code)


def test_a_function_without_a_context_of_its_own_is_refused(torch):
    def old(T):
        class Twice(T.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return g * 2
        return Twice
    same(torch, lambda T: T.vmap(old(T).apply)(T.tensor(X)))
    same(torch, lambda T: T.func.jvp(old(T).apply, (T.tensor(X),), (T.tensor(X),)))


def two(x):
    return x.sin() * x.sum(0), x.cumsum(0).sum()


@pytest.mark.parametrize("strategy", ["forward-mode", "reverse-mode"])
@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize("create", [True, False])
def test_matrices_of_derivatives(strategy, vectorize, create, torch):
    def how(name="strategy"):
        return {name: strategy, "vectorize": vectorize, "create_graph": create}
    same(torch, lambda T: T.autograd.functional.jacobian(two, T.tensor(X), **how()))
    same(torch, lambda T: T.autograd.functional.jacobian(lambda x, y: (x @ y, y), (T.tensor(X), T.tensor(X.T)), **how()))
    same(torch, lambda T: T.autograd.functional.hessian(lambda x: two(x)[0].exp().sum(), T.tensor(X), **how(
        "outer_jacobian_strategy")), grad=False)
    same(torch, lambda T: T.autograd.functional.jacobian(two, T.tensor(X), strict=True, **how()))


def test_rows_of_gradients(torch):
    def code(T, shape=(12, 4, 3), **options):
        x = T.tensor(X, requires_grad=True)
        y = x.exp() * x.sum()
        return T.autograd.grad(y, x, T.eye(12, dtype=T.double).view(shape), is_grads_batched=True, **options)
    same(torch, code)
    same(torch, lambda T: code(T, create_graph=True))
    same(torch, lambda T: code(T, (12, 2, 6)))
    same(torch, lambda T: T.autograd.grad(T.ones(2, requires_grad=True) * 2, T.ones(2, requires_grad=True),
                                          T.ones(3, 2), is_grads_batched=True, allow_unused=True))


@pytest.mark.parametrize("of", ["dual", "leaf"])
def test_gradients_inside_of_a_level_have_slopes(of, torch):
    """The product of a Hessian and a vector, forward over reverse."""
    def code(T):
        fwd = T.autograd.forward_ad
        x = T.tensor(X, requires_grad=True)
        with fwd.dual_level():
            y = fwd.make_dual(x, T.tensor(X**2))
            g, = T.autograd.grad((y.sin() * y.sum()).sum(), y if of == "dual" else x, create_graph=True)
            value, slope = fwd.unpack_dual(g)
        return value, slope, T.autograd.grad(slope.sum(), x)
    same(torch, code)


def test_backward_inside_of_a_level(torch):
    def code(T):
        fwd = T.autograd.forward_ad
        x = T.tensor(X, requires_grad=True)
        with fwd.dual_level():
            (fwd.make_dual(x, T.tensor(X)).sin().sum()).backward()
        return x.grad.detach()
    same(torch, code)
