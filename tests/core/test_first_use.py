"""Files of the catalogue are run when one of their ops is first used, and nobody can tell."""

import inspect
import os
import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.cli import contents
from numbagrad.core.registry import REGISTRY
from numbagrad.extend import Sample, elementwise
from numbagrad.ops.contents import CONTENTS

BEGIN = """
import sys
import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad.core.registry import REGISTRY
def files():
    return {m.removeprefix("numbagrad.ops.") for m in sys.modules if m.startswith("numbagrad.ops.") and m.count(".") == 3}
"""


def fresh(code, begin=BEGIN, **env):
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", begin + code], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


# --- the index --------------------------------------------------------------------------------------------------------

def test_index_is_up_to_date():
    found = contents.contents()
    command = "ops/contents.py is out of date, and ops are not found where it does not name them: python -m numbagrad contents"
    for module, places in found.items():
        for place, names in places.items():
            listed = CONTENTS.get(module, {}).get(place, "")
            assert listed == names, (command, module, place, sorted(set(listed.split()) ^ set(names.split())))
    assert CONTENTS == found, (command, sorted(set(CONTENTS) ^ set(found)))
    with open(contents.PATH, encoding="utf-8") as f:
        assert f.read() == contents.text(found), command


def test_an_op_that_the_index_lacks_is_noticed(monkeypatch):
    listed = CONTENTS["reduce.softmax"]
    monkeypatch.setitem(CONTENTS, "reduce.softmax", {**listed, "ops": listed["ops"].replace("softmin", "")})
    with pytest.raises(AssertionError, match=r"(?s)python -m numbagrad contents.*'reduce.softmax', 'ops', \['softmin'\]"):
        test_index_is_up_to_date()


def test_names_lie_in_one_file_each():
    for place in REGISTRY.index:
        names = [n for places in CONTENTS.values() for n in places.get(place, "").split()]
        assert len(names) == len(set(names)) > 0, place


def test_the_index_is_not_needed():
    """Without it, or for a file that it does not list, as before it is written: files are run at once."""
    begin = """
import importlib, sys, types
sys.modules["numbagrad.ops.contents"] = m = types.ModuleType("numbagrad.ops.contents")
m.CONTENTS = {}
""" + BEGIN
    code = ("print(len(files()) > 60, 'softmax' in vars(F), 'softmax' in vars(ng.Tensor) and callable(ng.Tensor.softmax))\n"
            "print(type(vars(ng.Tensor)['softmax']).__name__, len(REGISTRY) > 600, REGISTRY.waiting)")
    assert fresh(code, begin) == ["True True True", "function True {}"]


def test_an_op_that_has_moved_since_the_index_was_written():
    begin = """
import runpy, sys, types
found = runpy.run_path(PATH)["CONTENTS"]
for place, names in found["reduce.softmax"].items():
    found["view.dims"][place] = found["view.dims"].get(place, "") + " " + names
found["reduce.softmax"] = {}
sys.modules["numbagrad.ops.contents"] = m = types.ModuleType("numbagrad.ops.contents")
m.CONTENTS = found
""".replace("PATH", repr(contents.PATH)) + BEGIN
    assert fresh("print(F.softmax(ng.zeros(2), 0).tolist(), REGISTRY['softmin'].module)", begin) == [
        "[0.5, 0.5] numbagrad.ops.reduce.softmax"]
    assert fresh("print(ng.zeros(2).softmax(0).tolist(), F.log_softmax.__name__)", begin) == ["[0.5, 0.5] log_softmax"]
    assert fresh("print(REGISTRY['softmax'].module)", begin) == ["numbagrad.ops.reduce.softmax"]


def test_an_op_that_is_new_in_a_listed_file_is_there_when_the_file_was_imported():
    code = """
from numbagrad.public.later import Method
del REGISTRY.index["ops"]["softmax"], REGISTRY.index["numbagrad"]["softmax"], ng.Tensor.softmax
import numbagrad.ops.reduce.softmax
print(type(ng.Tensor.softmax).__name__, type(vars(F)["softmax"]).__name__, REGISTRY["softmax"].name, 'softmin' in vars(F))
"""
    assert fresh(code) == ["function function softmax False"]


def test_files_set_nothing_that_the_index_does_not_know():
    code = """
spaces = ng, F, ng.special, ng.linalg, ng.Tensor
before = [set(dir(s)) for s in spaces]
REGISTRY.all()
hidden = {"__getattr__", "__dir__"}
print([set(vars(s)) - b - hidden for s, b in zip(spaces, before)], len(files()) > 60)
from numbagrad.public.later import Method
print([n for n, value in vars(ng.Tensor).items() if isinstance(value, Method)])
"""
    assert fresh(code) == ["[set(), set(), set(), set(), set()] True", "[]"]


# --- what is run when -------------------------------------------------------------------------------------------------

def test_import_runs_no_file_of_the_catalogue():
    others = "('numba', 'scipy', 'numbagrad.compiler', 'numbagrad.optim', 'numbagrad.saving')"
    assert fresh(f"print(files(), [m for m in {others} if m in sys.modules])") == ["set() []"]


def test_an_op_lies_in_its_place_after_its_first_use():
    code = """
from numbagrad.public.later import Method
x = ng.tensor([[1.0, 2.0]])
print("softmax" in dir(F), "softmax" in vars(F), type(vars(ng.Tensor)["softmax"]) is Method, "reduce.softmax" in files())
x.softmax(1)
print("__getattr__" in vars(F), F.gelu is vars(F)["gelu"], "unfold" in vars(F))
for _ in range(200):
    x + x
print("__getattr__" in vars(F), "unfold" in vars(F), "__getattr__" in vars(ng.linalg), "__getattr__" in vars(ng))
print(vars(F)["softmax"] is F.softmax, vars(ng.Tensor)["softmax"] is ng.Tensor.softmax, type(ng.Tensor.softmax).__name__)
print(type(vars(ng.Tensor)["histc"]) is Method, x.histc(2).tolist(), type(vars(ng.Tensor)["histc"]).__name__)
"""
    assert fresh(code) == ["True False True False", "True True False", "False True False True", "True True function",
                           "True [1.0, 1.0] function"]


def test_layers_reach_ops_that_other_files_import():
    """What a function of another file calls is cast and refused in its first call, too."""
    code = """
with ng.autocast("cpu"):
    print(ng.einsum("ij,jk->ik", ng.ones(3, 4), ng.ones(4, 4)).dtype)
"""
    assert fresh(code) == ["torch.bfloat16"]
    code = """
x = ng.ones(3, 3).to(ng.uint16)
try:
    ng.einsum("ij,jk->ik", x, x)
except NotImplementedError as error:
    print(error)
"""
    assert fresh(code) == ["\"bmm\" not implemented for 'UInt16'"]


@pytest.mark.parametrize("code, printed", [
    ("x += 1; print(x.tolist())", "[3.0, 4.0]"), ("print((2 ** x).tolist())", "[4.0, 8.0]"), ("print((-x)[1].item())", "-3.0"),
    ("print((1 - x).tolist(), (6 / x).tolist())", "[-1.0, -2.0] [3.0, 2.0]"), ("x[0] = 7; print(x.tolist())", "[7.0, 3.0]"),
    ("print((x == x).tolist(), x in {x: 1})", "[True, True] True"), ("print(x.T.dim(), x.mean().item())", "1 2.5"),
    ("x.real = ng.ones(2); print(x.tolist(), 'real' in vars(x))", "[1.0, 1.0] False"), ("print(x.exp_() is x)", "True"),
    ("print(ng.relu_(x) is x)", "True"),
    ("print(REGISTRY['softmax'].name, 'softmax' in REGISTRY, REGISTRY.get('nothing'), 'nothing' in REGISTRY)",
     "softmax True None False"),
    ("print(len(list(REGISTRY)) == len(REGISTRY) == len({**REGISTRY}) == len(set(REGISTRY)) > 600)", "True"),
    ("import pickle; print(pickle.loads(b'cnumbagrad\\ntanh\\n.')(x).shape == x.shape)", "True"),
    ("from numbagrad import tanh, optim, save; print(tanh.__name__, optim.SGD.__name__)", "tanh SGD"),
    ("from numbagrad.nn.functional import *; print(gelu.__name__, softmax.__name__)", "gelu softmax"),
    ("from numbagrad import *; print(exp.__name__, compile.__name__, nn.__name__)", "exp compile numbagrad.nn"),
    ("import pydoc; print(pydoc.render_doc(F.softmax)[30:66])", "function softmax in module numbagrad"),
    ("import inspect; print(inspect.signature(ng.Tensor.softmax))",
     "(input, dim=None, _stacklevel=3, dtype=None, *, out=None)"),
    ("print(round(ng.linalg.norm(x).item() ** 2, 5), ng.linalg.LinAlgError.__name__)", "13.0 LinAlgError"),
    ("y = ng.nn.LSTM(2, 3)(x.reshape(1, 1, 2))[0]; print(y.shape == (1, 1, 3))", "True"),
])
def test_first_use(code, printed):
    line, = fresh("x = ng.tensor([2.0, 3.0])\n" + code)
    assert line == printed


def test_help_of_tensor_shows_methods():
    lines = fresh("import pydoc; print(pydoc.render_doc(ng.Tensor, renderer=pydoc.plaintext))")
    for line in (" |  softmax(input, ", " |  add_(input, other, *, alpha=1)", " |  __add__ = operator(self, other)", " |  T"):
        assert any(shown.startswith(line) for shown in lines), line


def test_modules_show_what_they_will_have():
    code = """
for space in (ng, F, ng.special, ng.linalg):
    names = set(REGISTRY.index[space.__name__])
    public = {n for n in names if n[0] != "_"}
    print(names <= set(dir(space)), len(public) > 20, public <= set(space.__all__))
    print([n for n in sorted(names) if getattr(space, n, None) is None or n not in vars(space)])
print(set(REGISTRY.index["Tensor"]) <= set(dir(ng.Tensor)))
"""
    assert fresh(code) == 4 * ["True True True", "[]"] + ["True"]
    with pytest.raises(AttributeError, match="^module 'numbagrad.nn.functional' has no attribute 'nothing'$"):
        ng.nn.functional.nothing  # noqa: B018


def test_what_a_user_has_set_is_kept():
    code = """
mine = lambda x: "mine"
F.silu, ng.tanh, ng.Tensor.exp, ng.Tensor.mT, ng.linalg.norm = mine, F.gelu, mine, 5, mine
x = ng.ones(2)
F.relu(x), F.gelu(x), x.tanh(), ng.exp(x), x.T, ng.linalg.vector_norm(x)
REGISTRY.all()
print(F.silu is mine, ng.tanh.__name__, ng.Tensor.exp is mine, ng.Tensor.mT, ng.linalg.norm is mine, ng.exp(x).shape == x.shape)
"""
    assert fresh(code) == ["True gelu True 5 True True"]


# --- interruptions and threads ----------------------------------------------------------------------------------------

def test_an_interrupted_file_is_run_anew():
    code = """
from numbagrad.dispatch.op import Op
made, init = [], Op.__init__
def interrupted(self, *args, **options):
    init(self, *args, **options)
    made.append(self.name)
    if made.count("softmax") == 1 and self.name == "softmax":
        raise KeyboardInterrupt
Op.__init__ = interrupted
x = ng.tensor([1.0, 2.0], requires_grad=True)
try:
    x.softmax(0)
except KeyboardInterrupt:
    print("interrupted")
(F.softmax(x, 0) * ng.tensor([1.0, 3.0])).sum().backward()
print([round(g, 4) for g in x.grad.tolist()], made.count("softmax"), len(REGISTRY) > 600)
"""
    assert fresh(code) == ["interrupted", "[-0.3932, 0.3932] 2 True"]


def test_first_uses_in_many_threads():
    """Whatever thread comes first: nobody meets an op without its gradient, and all find the same functions."""
    code = """
import threading
sys.setswitchinterval(1e-5)
names = "softmax log_softmax layer_norm gelu cross_entropy conv2d".split()
together, found = threading.Barrier(12), []
def work(k):
    x = ng.linspace(-1, 1, 16).reshape(4, 4).requires_grad_()
    together.wait()
    y = [lambda: F.softmax(x, 1) * x, lambda: x.log_softmax(1), lambda: F.layer_norm(x, (4,)) * x, lambda: F.gelu(x),
         lambda: F.cross_entropy(x, ng.arange(4)), lambda: F.conv2d(x[None, None], x[:2, :2][None, None])][k % 6]()
    y.sum().backward()
    found.append((k % 6, x.grad.tolist(), REGISTRY[names[k % 6]], getattr(F, names[k % 6])))
threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
for t in threads: t.start()
for t in threads: t.join()
print(len(found), all(a[1:3] == b[1:3] for a in found for b in found if a[0] == b[0]))
print(all(getattr(F, names[k]) in (fn, REGISTRY[names[k]].callable) for k, _, _, fn in found), REGISTRY.declared)
"""
    lines = fresh(code)
    assert lines[0] == "12 True" and lines[1].startswith("True")


def test_a_forked_child_uses_ops_for_the_first_time():
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    code = """
import os, threading, warnings
warnings.simplefilter("ignore")  # of a fork beside threads
threading.Thread(target=lambda: [REGISTRY.load(m) for m in REGISTRY.modules]).start()
child = os.fork()
if child == 0:
    os._exit(0 if ng.ones(2).sum().item() == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert fresh(code) == ["0"]


# --- ops of others ----------------------------------------------------------------------------------------------------

def test_an_op_of_the_users_is_there_at_once():
    @elementwise(name="planted_at_once", samples=(Sample((2,)),), namespaces=("torch", "nn.functional"))
    def planted(input):
        """``input + 1``."""
        return input + 1
    try:
        assert REGISTRY["planted_at_once"] is planted and "planted_at_once" in list(REGISTRY)
        assert ng.planted_at_once(ng.ones(2)).tolist() == [2, 2] == ng.ones(2).planted_at_once().tolist()
        assert inspect.signature(ng.nn.functional.planted_at_once).parameters.keys() == {"input", "out"}
        with pytest.raises(ValueError, match="an op named 'planted_at_once' is registered already"):
            elementwise(name="planted_at_once")(lambda input: input)
    finally:
        del REGISTRY["planted_at_once"], ng.planted_at_once, ng.nn.functional.planted_at_once
        del ng.Tensor.planted_at_once, ng.Tensor.planted_at_once_


def test_a_name_of_the_catalogue_is_taken_before_its_file_is_run():
    code = """
from numbagrad.extend import elementwise
try:
    @elementwise
    def gelu(input):
        return input
except ValueError as error:
    print(error)
"""
    assert fresh(code) == ["an op named 'gelu' is registered already (pointwise.activation)"]


def test_private_ops_are_no_methods():
    private = [op for op in REGISTRY.values() if op.private]
    assert len(private) > 100
    public = {n for op in REGISTRY.values() if not op.private for n in (op.method, op.name + "_", *op.aliases)}
    assert not [op for op in private if op.name + "_" not in public and hasattr(ng.Tensor, op.name + "_")]
