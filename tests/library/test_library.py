"""``torch.library``: operators of the user's, side by side with PyTorch."""

import contextlib
import io
import re
import typing
import warnings

import numpy as np
import pytest

import numbagrad as ng
import numbagrad.library

torch = pytest.importorskip("torch")

SETUP = '''
Tensor, library = torch.Tensor, torch.library
@library.custom_op("nglib::f", mutates_args=())
def f(x: Tensor, y: float = 2.0, *, z: int = 3) -> Tensor:
    return torch.from_numpy(np.sin(x.numpy()) * y * z)
@library.custom_op("nglib::two", mutates_args=())
def two(x: Tensor) -> Tuple[Tensor, Tensor]:
    return x.clone(), x * 2
@library.custom_op("nglib::lst", mutates_args=())
def lst(xs: List[Tensor], w: Sequence[float]) -> Tensor:
    return sum(a * b for a, b in zip(xs, w))
@library.custom_op("nglib::mut", mutates_args={"x"})
def mut(x: Tensor) -> None:
    x.numpy()[...] += 1
@library.custom_op("nglib::lg", mutates_args=())
def lg(xs: List[Tensor]) -> List[Tensor]:
    return [a * 2 for a in xs]
def setup(ctx, inputs, keyword_only_inputs, output):
    ctx.save_for_backward(inputs[0])
    ctx.k = inputs[1] * keyword_only_inputs["z"]
def bwd(ctx, grad):
    return grad * ctx.saved_tensors[0].cos() * ctx.k, None
x, g = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0], requires_grad=True)
'''


def both(source):
    """What a source prints, or its error, under either library."""
    found = []
    for lib in (ng, torch):
        scope = {"torch": lib, "np": np, **vars(typing)}
        out = io.StringIO()
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(SETUP, scope)
            try:
                exec(source, scope)
            except Exception as e:
                out.write(f"{type(e).__name__}: {e}")
        text = re.sub(r"0x[0-9a-f]+", "", out.getvalue()).replace("numbagrad", "torch")
        found.append(re.sub(r"with implementation in .*?\)", "with implementation)", text).partition(
            "Duplicate registration")[0])
    return found


CALLS = """print(f, f(x), f(x, y=3), f(x=x), f(x, 1.0, z=1), f(x, True), f(x, np.float64(2)), f(x, torch.tensor(2.0)))
---
print(torch.ops.nglib.f(x), torch.ops.nglib.f.default(x), torch.ops.nglib.f, torch.ops.nglib.f.default, repr(torch.ops.nglib.f))
---
print(f._schema, torch.ops.nglib.f.default._schema, torch.ops.nglib.mut.default._schema, torch.ops.nglib.lst.default._schema)
---
torch.ops.nglib.nothing
---
f()
---
f(x, 1.0, 2)
---
f(x, q=1)
---
f(3)
---
f(x, "a")
---
f(x, 1.0, z=2.5)
---
f(x, None)
---
lst(x, [1.0])
---
lst([x, 3], [1.0])
---
print(lst([x, x], [1, 2]), lst((x, x), (1.0, 2.0)), two(x))
---
v = x._version; mut(x); print(x, x._version - v); mut(g); print(g)
---
f(g).sum().backward()
---
y = f(g); print(y, y.requires_grad, type(y.grad_fn).__name__)
---
f.register_autograd(bwd, setup_context=setup)
y = f(g, 3.0, z=2); y.sum().backward(); print(g.grad)
r, = torch.autograd.grad(f(g.double()).sum(), g, create_graph=True); print(r)
---
f.register_autograd(bwd, setup_context=setup)
a = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
print(torch.autograd.gradcheck(f, (a,)), torch.autograd.gradgradcheck(f, (a,)))
---
mut.register_autograd(bwd)
---
two.register_autograd(lambda ctx, a, b: a + 2 * b)
u, v = two(g); print(type(u.grad_fn).__name__); (u + v).sum().backward(); print(g.grad)
---
lg.register_autograd(lambda ctx, grads: [2 * q for q in grads])
y = lg([g, g]); print(y, type(y)); (y[0] + y[1]).sum().backward(); print(g.grad)
---
lg.register_autograd(lambda ctx, grads: (print(ctx.needs_input_grad), [2 * grads[0], None])[1])
y = lg([g, x]); print(y); y[0].sum().backward(); print(g.grad)
---
print(torch.vmap(f)(torch.ones(2, 2)), torch.vmap(two)(torch.ones(2, 2)))
---
two.register_vmap(lambda info, dims, x: (print(info.batch_size, info.randomness, dims), (two(x), (dims[0], dims[0])))[1])
print(torch.vmap(two)(torch.ones(2, 3)))
---
f.register_vmap(lambda info, dims, x: (x * 0, 0)); 
print(torch.vmap(f)(torch.ones(2, 2)), torch.vmap(f, (0, None))(torch.ones(2, 2), 2.0))
---
f(torch.ones(2, device="meta"))
---
f.register_fake(lambda x, y=2.0, *, z=3: torch.empty_like(x)); print(f(torch.ones(2, device="meta")).shape)
---
two.register_autocast("cpu", torch.bfloat16)
for d in torch.float, torch.float16, torch.double, torch.int:
    with torch.autocast("cpu"): print([t.dtype for t in two(torch.ones(2, dtype=d))])
print(two(torch.ones(2))[0].dtype)
---
two.register_autocast(3, torch.half)
---
f.register_kernel("cpu")(lambda x, y=2.0, *, z=3: torch.zeros_like(x)); print(f(x))
with f.set_kernel_enabled("cpu", enabled=False): print(f(x))
print(f(x))
---
@library.custom_op("nglib::same", mutates_args=())
def same(x: Tensor) -> Tensor: return x
same(x)
---
@library.custom_op("nglib::alias", mutates_args=())
def alias(x: Tensor) -> Tensor: return x.view(-1)
alias(x)
---
@library.custom_op("nglib::twice", mutates_args=())
def twice(x: Tensor) -> Tuple[Tensor, Tensor]:
    y = x + 1
    return y, y
twice(x)
---
@library.custom_op("nglib::number", mutates_args=())
def number(x: Tensor) -> int: return x.numel()
print(number(x), number(g))
---
@library.custom_op("nglib::wrong", mutates_args=())
def wrong(x: Tensor) -> Tensor: return 3
wrong(x)
---
@library.custom_op("nglib::inp", mutates_args={"x"}, tags=torch.Tag.inplace)
def inp(x: Tensor) -> Tensor:
    x.numpy()[...] = 0
    return x
print(inp(x) is x, x, inp._schema)
---
@library.custom_op("nglib::outs", mutates_args={"out"}, tags=torch.Tag.out)
def outs(x: Tensor, *, out: Tensor) -> Tensor:
    out.copy_(x)
    return out
o = torch.zeros(2); print(outs(x, out=o) is o, o, outs._schema)
---
@library.custom_op("nglib::fac", mutates_args={}, device_types="cpu")
def fac(device: torch.device) -> Tensor: return torch.ones(3)
print(fac("cpu"), fac(torch.device("cpu")), fac(device="cpu")); fac("meta")
---
@library.custom_op("nglib::fac2", mutates_args={}, device_types="cpu")
def fac2(n: int) -> Tensor: return torch.ones(3)
---
@library.custom_op("nglib::ko", mutates_args=())
def ko(x: Tensor, *, y: Tensor) -> Tensor: return x
---
@library.custom_op("nglib::sc", mutates_args=(), schema="(Tensor x, int n=2, float[] s=[1.0, 2.0]) -> Tensor")
def sc(x, n=2, s=(1.0, 2.0)): return x * n + s[1]
print(sc(x), sc(x, 3), sc(x, 3, [0.0, 1.0]), sc._schema)
---
@library.custom_op("nglib::sd", mutates_args=("x",), schema="(Tensor x, int n) -> Tensor")
def sd(x, n): return x * n
---
library.register_fake("nglib::two", lambda x: (torch.empty_like(x), torch.empty_like(x)))
library.register_autograd("nglib::two", lambda ctx, a, b: a + b); library.register_kernel(two, "cpu", lambda x: (x + 1, x + 2))
print(two(g), library.opcheck(two, (x,)), library.opcheck(two, (g,)))
---
library.opcheck(lst, ([x], [1.0]))
---
library.register_fake(3, f)
---
library.register_kernel("nglib::none::x", "cpu", f)
---
lib = library.Library("nglib2", "FRAGMENT")
print(lib.define("g(Tensor x, int n=2) -> Tensor")); lib.impl("g", lambda x, n=2: x * n, "CPU")
print(torch.ops.nglib2.g(x), torch.ops.nglib2.g(x, 3), lib); lib.define("g(Tensor x) -> Tensor")
---
library.Library("x", "FOO")
---
library.define("nglib3::h", "(Tensor x) -> Tensor"); library.impl("nglib3::h", "cpu", lambda x: x + 1)
library.register_autograd("nglib3::h", lambda ctx, g: 2 * g); y = torch.ops.nglib3.h(g); y.sum().backward(); print(y, g.grad)
---
library.define(3, "(Tensor x) -> Tensor")
---
library.define("nglib3::k", "Tensor x -> Tensor")
---
class Log(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        print(func, [t.__name__ for t in types]); return super().__torch_function__(func, types, args, kwargs)
print(type(two(Log([1.0]))), type(f(Log([1.0]))))"""


@pytest.mark.parametrize("source", CALLS.split("\n---\n"))
def test_as_in_pytorch(source):
    ours, theirs = both(source)
    assert ours == theirs


@pytest.mark.parametrize("head", """\
x: Tensor, y: Optional[Tensor], s: Sequence[int], d: torch.dtype = torch.float32) -> Tuple[Tensor, int]
x: Tensor, e: torch.device = torch.device("cpu"), n: torch.types.Number = 1, q: str = "a", *, k: bool = True) -> List[Tensor]
x: Tensor, l: Optional[List[int]] = None, m: Optional[Sequence[float]] = None, o: float = 1e-5) -> Tuple[Tensor]
xs: List[Optional[Tensor]], ys: list[Tensor], y: "int" = 3) -> "Tensor"
x) -> Tensor
x: Tensor)
*x: Tensor) -> Tensor
x: Tensor, /) -> Tensor
x: Tensor) -> None
x: Tensor) -> float
x: "Nothing") -> Tensor
x: Tensor, y: int = "a") -> Tensor
x: Tensor, y: int = (1,)) -> Tensor""".split("\n"))
def test_schemas_of_annotations(head):
    for mutates in ((), {"x"}, {"z"}, "unknown", "x"):
        ours, theirs = both(f"def a({head}: pass\nprint(library.infer_schema(a, mutates_args={mutates!r}, op_name='foo'))")
        assert ours == theirs


def test_types_that_a_schema_does_not_have():
    for head in ("x: Tuple[int, int]) -> Tensor", "x: Dict[str, int]) -> Tensor", "x: Tensor) -> str"):
        ours, theirs = both(f"def a({head}: pass\nlibrary.infer_schema(a, mutates_args=())")
        # (The list of types that follows is of each library's own.)
        assert ours.partition("The valid types are")[0] == theirs.partition("The valid types are")[0] != ""


def test_a_compiled_step_calls_the_kernel():
    calls = []

    @ng.library.custom_op("nglib::sine", mutates_args=())
    def sine(x: ng.Tensor, k: float = 1.0) -> ng.Tensor:
        calls.append(1)
        return ng.from_numpy(np.sin(x.numpy()) * k)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.k = inputs[1]
    sine.register_autograd(lambda ctx, g: (g * ctx.saved_tensors[0].cos() * ctx.k, None), setup_context=setup)

    p = ng.tensor([0.2, 0.4, 0.6], requires_grad=True)

    def step(x):
        loss = (sine(x * p, 3.0) + 1).sum()
        loss.backward()
        return loss
    compiled = ng.compile(step)
    with pytest.raises(RuntimeError, match="nglib::sine, an operator of which nothing says what it returns"):
        compiled(ng.ones(3))
    sine.register_fake(lambda x, k=1.0: ng.empty_like(x))
    compiled = ng.compile(step)
    for i in range(3):
        x = ng.full((3,), i + 1.0)
        p.grad = None
        loss, grad = compiled(x), p.grad.clone()
        before = len(calls)
        p.grad = None
        assert loss.item() == pytest.approx(step(x).item()) and ng.allclose(grad, p.grad) and len(calls) == before + 1

    @ng.library.custom_op("nglib::plus", mutates_args={"x"})
    def plus(x: ng.Tensor) -> None:
        x.numpy()[...] += 1
    with pytest.raises(RuntimeError, match="writes to its arguments"):
        ng.compile(lambda x: plus(x))(ng.ones(3))


def test_what_is_not_here_says_so():
    for call, text in ((lambda: ng.library.triton_op("a::b", mutates_args=()), "runs no Triton kernels"),
                       (lambda: ng.library.wrap_triton(print), "runs no Triton kernels"),
                       (lambda: ng.library.get_ctx(), "no symbolic sizes"),
                       (lambda: ng.library.get_kernel("a::b", "CPU"), "no dispatcher"),
                       (lambda: ng.library.Library("aten", "IMPL"), "could be replaced"),
                       (lambda: ng.library.register_torch_dispatch("a::b", int), "no __torch_dispatch__"),
                       (lambda: ng.library.fallthrough_kernel(), "should never be called")):
        with pytest.raises(NotImplementedError, match=text):
            call()
    with pytest.raises(AttributeError, match="aten, are not here"):
        ng.ops.aten  # noqa: B018


@pytest.mark.parametrize("lib", [ng, torch], ids=["numbagrad", "torch"])
def test_fakes_that_are_there_are_replaced_where_that_is_allowed(lib):
    lib.library.define("nglib::fakes", "(Tensor x) -> Tensor")
    lib.library.register_fake("nglib::fakes", lambda x: x)
    with pytest.raises(RuntimeError, match=rf"nglib::fakes already has a fake impl registered at {re.escape(__file__)}:\d+"):
        lib.library.register_fake("nglib::fakes", lambda x: x, allow_override=False)
    lib.library.register_fake("nglib::fakes", lambda x: x.clone())
    own = lib.library.Library("nglib", "FRAGMENT")
    with pytest.raises(RuntimeError, match="already has a fake impl registered at "):
        own._register_fake("fakes", lambda x: x, allow_override=False)


def test_checks_find_what_is_wrong():
    @ng.library.custom_op("nglib::lies", mutates_args=())
    def lies(x: ng.Tensor) -> ng.Tensor:
        x.numpy()[...] += 1
        return x + 1
    lies.register_fake(lambda x: x.new_empty((x.shape[0] + 1,)))
    with pytest.raises(ng.library.opcheck.__globals__["OpCheckError"], match="Argument x is not defined as mutable"):
        ng.library.opcheck(lies, (ng.ones(2),))
    found = ng.library.opcheck(lies, (ng.ones(2),), raise_exception=False)
    assert found["test_autograd_registration"] == "SUCCESS" and "shape" in str(found["test_faketensor"])


def test_the_catalogue_is_still_found_beside_operators():
    from numbagrad.ops import pointwise  # noqa: F401
    assert ng.ops.FAMILIES and not hasattr(ng.ops, "no_such_namespace")
