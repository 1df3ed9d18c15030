"""``__torch_function__`` of classes, of things that are no tensors and of modes, side by side with PyTorch."""

import contextlib
import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import numbagrad as ng
import numbagrad.overrides
from numbagrad.dispatch import overriding

torch = pytest.importorskip("torch")

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _asking_ends():
    """Functions of later tests ask nobody."""
    yield
    while "classes" in overriding._held:
        overriding.release("classes")


def text_of(found):
    """What was printed, without addresses and the libraries' own names."""
    return re.sub(r"0x[0-9a-f]+", "", found).replace("numbagrad", "torch").replace("torch.nn.parameter", "torch")


def both(source, setup=""):
    """What a source prints, or the error that it raises, under either library."""
    found = []
    for lib in (ng, torch):
        scope = {"torch": lib, "copy": copy, "pickle": pickle, "io": io, "warnings": warnings}
        out = io.StringIO()
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(CLASSES + setup, scope)
            try:
                exec(source, scope)
            except Exception as e:
                out.write(f"{type(e).__name__}: {e}")
        found.append(text_of(out.getvalue()))
    return found


CLASSES = """
def name(f):
    n = f.__name__
    return n if n not in ("__get__", "__set__", "__delete__") else "." + n
def kinds(values):
    return [type(v).__name__ for v in values]
class Log(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        r = super().__torch_function__(func, types, args, kwargs)
        print(name(func), kinds(args), None if kwargs is None else dict(zip(kwargs, kinds(kwargs.values()))),
              [t.__name__ for t in types], type(r).__name__)
        return r
class Sub(torch.Tensor):
    pass
class SubSub(Sub):
    pass
class Other(torch.Tensor):
    pass
class Slots(torch.Tensor):
    __slots__ = ("z",)
class Duck:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        print("duck", name(func), kinds(args), kinds((kwargs or {}).values()), [t.__name__ for t in types])
        return NotImplemented
class Taker:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return "taken"
class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        print("mode", name(func), kinds(args))
        return func(*args, **(kwargs or {}))
class Refusing(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return NotImplemented
x, t, d = Log([1.0, 2.0]), torch.ones(2), Duck()
s = Sub([1.0, 2.0])
"""

@pytest.mark.parametrize("call", (HERE / "asked_calls.txt").read_text().splitlines())
def test_a_class_that_logs_sees_what_it_sees_in_pytorch(call):
    ours, theirs = both(call)
    assert ours == theirs


@pytest.mark.parametrize("source", (HERE / "asked_sources.txt").read_text().split("\n---\n"))
def test_as_in_pytorch(source):
    ours, theirs = both(source)
    assert ours == theirs


SCALAR = '''
HANDLED = {}
def implements(f):
    def register(g):
        HANDLED[f] = g
        return g
    return register
class ScalarTensor:
    """A diagonal matrix of one value, which is no tensor."""
    def __init__(self, n, value):
        self._N, self._value = n, value
    def tensor(self):
        return self._value * torch.eye(self._N)
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func not in HANDLED or not all(issubclass(t, (torch.Tensor, ScalarTensor)) for t in types):
            return NotImplemented
        return HANDLED[func](*args, **(kwargs or {}))
@implements(torch.mean)
def mean(input):
    return float(input._value) / input._N
@implements(torch.add)
def add(input, other):
    if isinstance(input, ScalarTensor) and isinstance(other, ScalarTensor):
        return ScalarTensor(input._N, input._value + other._value)
    return torch.add(input.tensor() if isinstance(input, ScalarTensor) else input,
                     other.tensor() if isinstance(other, ScalarTensor) else other)
'''


def test_a_class_that_is_no_tensor_as_in_the_documentation():
    """In a process in which no class overrides before."""
    fresh = "import numbagrad as torch\nfrom numbagrad.dispatch import overriding\nassert not overriding._held\n"
    check = SCALAR + ("a = ScalarTensor(5, 2)\nprint(torch.mean(a), torch.add(a, a)._value)\n"
                      "print(torch.add(a, torch.ones(5, 5)).sum())\ntry: torch.mul(a, 3)\nexcept TypeError as e: print(e)\n")
    run = subprocess.run([sys.executable, "-c", fresh + check], capture_output=True, text=True)
    assert text_of(run.stdout.replace("__main__.", "")) == both(check)[1].replace("builtins.", ""), run.stderr


@pytest.mark.parametrize("first", ["torch.mean(a)", "torch.add(a, a)", "torch.nn.functional.relu(a)", "torch.cat([a])", "t + a",
                                   "torch.reshape(a, (2,))", "torch.matmul(t, a)", "torch.nn.functional.linear(t, a)",
                                   "torch.softmax(a, 0)", "torch.transpose(a, 0, 1)", "torch.where(a, t, t)", "t.add_(a)",
                                   "torch.max(a)", "torch.add(t, t, out=a)", "torch.nn.functional.conv1d(t, a)"])
def test_the_first_call_with_something_that_is_no_tensor_asks_it(first):
    script = ("import numbagrad as torch\nclass A:\n  @classmethod\n"
              "  def __torch_function__(cls, func, types, args=(), kwargs=None):\n    return 'asked'\n"
              f"a, t = A(), torch.ones(2)\nassert ({first}) == 'asked'\nassert ({first}) == 'asked'\n")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not run.returncode, run.stderr


def test_who_defines_no_class_pays_nothing():
    """Functions have their own code until a class overrides, and again when a mode has ended."""
    script = """import numbagrad as ng
from numbagrad.dispatch import layers, overriding
class Mode(ng.overrides.TorchFunctionMode):
    calls = 0
    def __torch_function__(self, func, types, args=(), kwargs=None):
        Mode.calls += 1
        return func(*args, **(kwargs or {}))
a = ng.ones(2)
ng.sin(a)  # (Numba has begun)
before = ng.exp.__code__, ng.Tensor.shape, ng.Tensor.sum.__code__
with Mode():
    assert ng.exp.__code__ is not before[0]
    ng.exp(a), ng.log(a), a.sum(), a.shape
assert Mode.calls == 4 and ng.log(a).tolist() == [0, 0]
ng.exp(a), a.sum(), a.shape
assert Mode.calls == 4 and ng.Tensor.shape is before[1] and not overriding._held
assert not any([layers._functions[f].on for f in (ng.exp, ng.log, ng.Tensor.sum, ng.Tensor.__add__) if f in layers._functions])
with Mode():
    a.mul(2), a.add_(1)  # (their first uses)
with ng.profiler.profile() as profile:
    a.mul(2), a.add_(1)
assert [e.key for e in profile.key_averages()] == ["aten::mul", "aten::add_"]
class Plain(ng.nn.Parameter): pass
assert not overriding._held
class Sub(ng.Tensor): pass
kept = ng.cos, ng.Tensor.cos
a.cos()
assert kept == (ng.cos, ng.Tensor.cos) and overriding._held == ["classes"]
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not run.returncode, run.stderr


def test_a_mode_is_one_threads():
    class Mode(ng.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return "asked"

    with Mode():
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: ng.ones(2).exp().tolist()).result() == [pytest.approx(2.7182818)] * 2
        assert ng.ones(2) == "asked"
    with pytest.raises(ZeroDivisionError), Mode():
        raise ZeroDivisionError
    assert ng.ones(2).tolist() == [1, 1] and not ng.overrides._get_current_function_mode_stack()


def test_casts_and_profiles_go_on_below():
    class Sub(ng.Tensor):
        pass
    x = ng.ones(2, 2).as_subclass(Sub)
    with ng.autocast("cpu"):
        y = x @ x
    assert type(y) is Sub and y.dtype is ng.bfloat16
    with ng.profiler.profile() as found:
        z = ng.ones(2, 2) @ x
    assert type(z) is Sub and any("matmul" in e.key for e in found.key_averages())
    assert type(x @ x) is Sub and (x @ x).dtype is ng.float32


def test_functions_that_ask_have_their_parameters_still():
    class Sub(ng.Tensor):
        pass
    assert list(inspect.signature(ng.nn.functional.relu).parameters)[:2] == ["input", "inplace"]
    dummies = ng.overrides.get_testing_overrides()
    assert dummies[ng.nn.functional.linear](1, 2) == -1 and ng.Tensor.shape.__get__ in dummies
    found = ng.overrides.get_overridable_functions()
    assert ng.nn.functional.relu in found[ng.nn.functional] and ng.Tensor.backward in found[ng.Tensor]
    assert ng.is_tensor in ng.overrides.get_ignored_functions() and ng.add not in ng.overrides.get_ignored_functions()


def test_a_plain_method_warns():
    class Old:
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return -1
    for lib in (ng, torch):
        with pytest.warns(DeprecationWarning, match="plain method is deprecated"):
            assert lib.add(Old(), 1) == -1 if lib is ng else lib.nn.functional.relu(Old()) == -1


class Kept(ng.Tensor):
    """At the top level, where pickles find it."""


class Said(ng.Tensor):
    def __reduce_ex__(self, protocol):
        return Said._again, (self.tolist(),)

    @staticmethod
    def _again(values):
        return ng.tensor(values).as_subclass(Said)


@pytest.mark.parametrize("cls", [Kept, Said])
def test_pickles_and_files_keep_the_class(cls):
    a = ng.tensor([1.0, 2.0]).as_subclass(cls)
    a.meta = 3
    file = io.BytesIO()
    ng.save(a, file)
    file.seek(0)
    for found in (pickle.loads(pickle.dumps(a)), ng.load(file, weights_only=False)):
        assert type(found) is cls and found.tolist() == [1, 2] and (cls is Said or found.meta == 3)


def test_attributes_of_plain_tensors_are_kept_too():
    a = ng.ones(2)
    a.note = "x"
    assert pickle.loads(pickle.dumps(a)).note == copy.copy(a).note == copy.deepcopy(a).note == "x"
    assert copy.copy(a).data_ptr() == a.data_ptr() != copy.deepcopy(a).data_ptr()


def test_compiled_steps_refuse_who_would_be_asked():
    class Sub(ng.Tensor):
        pass

    def f(a, b):
        return a * b
    step = ng.compile(f)
    assert step(ng.ones(2), ng.ones(2)).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="an argument is a Sub, whose __torch_function__"):
        step(ng.ones(2).as_subclass(Sub), ng.ones(2))
    with pytest.warns(UserWarning, match="runs eagerly"):
        assert type(ng.compile(f, fallback=True)(ng.ones(2).as_subclass(Sub), ng.ones(2))) is Sub


def test_numbers_of_tensors_that_require_grad_where_nothing_is_recorded():
    for lib in (ng, torch):
        a = lib.ones(2, requires_grad=True)
        with lib.no_grad():
            assert a.numpy().tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            a.numpy()


def test_plain_arguments_override_nothing_from_the_start(tmp_path):
    """Before the file that asks was imported, PyTorch's own classes are known to ask nobody, in compiled steps too."""
    path = tmp_path / "plain.py"
    path.write_text("""import sys
import numbagrad as ng
from numbagrad.base.overriding import overloaded
found = overloaded([ng.ones(2), [ng.ones(2)], ng.ones(2).shape, ng.float32, ng.device("cpu"), ng.nn.Parameter(ng.ones(2)), 1])
print(found, ng.compile(lambda x: x * 2)(ng.ones(2)).tolist(), "numbagrad.dispatch.overriding" in sys.modules)
""", encoding="utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[] [2.0, 2.0] False\n", done.stderr
