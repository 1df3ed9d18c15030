"""``python -m numbagrad``: scripts written for PyTorch run unchanged, ``info``, ``warmup``, ``api``."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import subprocess
import sys

import paths
import pytest

import numbagrad as ng
from numbagrad.cli import warmup as warm
from numbagrad.core.registry import REGISTRY

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
# One has arguments, and a test of its own (test_safetensors.py).
# (Those with other people's packages are in test_libraries.py and with safetensors.)
SCRIPTS = sorted({name for p in glob.glob(os.path.join(PROGRAMS, "*.py")) if not (
    name := os.path.basename(p)[:-3]).startswith("with_")} - {"safetensors_files"})
# Same random numbers, same formulas: what remains is rounding, which training amplifies a little.
RTOL, ATOL = 2e-3, 2e-4
NUMBER = r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?"


def python(*args, cwd=None, check=True, **env):
    done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=300,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8", **env})
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def run(*args, **kwargs):
    return python("-m", "numbagrad", "run", *args, **kwargs)


def write(folder, text, name="script.py"):
    path = folder / name
    path.write_text(text)
    return path


# --- scripts in the manner of PyTorch's tutorials --------------------------------------------------------------------------

@pytest.mark.parametrize("name", SCRIPTS)
def test_script_says_what_it_says_under_pytorch(name):
    if name in ("classify_digits", "autoencoder"):
        pytest.importorskip("sklearn")
    path = os.path.join(PROGRAMS, name + ".py")
    ours = run(path).stdout
    assert ours.strip()
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert_same_output(ours, python(path).stdout)


def test_script_learns_the_digits():
    pytest.importorskip("sklearn")
    out = run(os.path.join(PROGRAMS, "classify_digits.py"), "--epochs", "5", "--log-interval", "100").stdout
    right, of = map(int, re.findall(r"Accuracy: (\d+)/(\d+)", out)[-1])
    assert out.count("Test set") == 5 and right / of > 0.9, out


def assert_same_output(ours, theirs):
    a, b = ours.splitlines(), theirs.splitlines()
    assert [re.sub(NUMBER, "#", line.replace(" ", "")) for line in a] == [
        re.sub(NUMBER, "#", line.replace(" ", "")) for line in b]
    for x, y in zip(a, b):
        for m, n in zip(re.findall(NUMBER, x), re.findall(NUMBER, y)):
            assert abs(float(m) - float(n)) <= ATOL + RTOL * abs(float(n)), f"numbagrad: {x}\nPyTorch:   {y}"


def test_output_comparison_notices_differences():
    assert_same_output("loss 1.0000 [3]", "loss 1.0001 [3]")
    for changed in ("loss 1.0100 [3]", "loss 1.0000 [4]", "loss: 1.0000 [3]", "loss 1.0000 [3]\nmore"):
        with pytest.raises(AssertionError):
            assert_same_output("loss 1.0000 [3]", changed)


# --- the same surroundings as plain python ---------------------------------------------------------------------------------

AROUND = """
import os, sys
import helper
print(__name__, __file__, os.path.basename(__file__), sys.argv, sys.path[0], helper.HERE, open("data.txt").read())
print([sys.modules["__main__"].__dict__ is globals(), __doc__, __package__, f"{annotated}"])
class C: pass
print(C)
"""


@pytest.mark.parametrize("how", ["name", "relative", "absolute"])
def test_surroundings_are_those_of_plain_python(tmp_path, how):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, '"""Doc."""\nannotated: int = 3\n' + AROUND)
    write(folder, "HERE = __name__\n", "helper.py")
    (folder if how == "name" else tmp_path).joinpath("data.txt").write_text("read")
    cwd, path = {"name": (folder, "script.py"), "relative": (tmp_path, os.path.join("folder", "script.py")),
                 "absolute": (tmp_path, folder / "script.py")}[how]
    args = ("--help", "-x", "--", "a b", "--seed=3")
    assert run(path, *args, cwd=cwd).stdout == python(path, *args, cwd=cwd).stdout


def test_every_way_of_importing(tmp_path):
    path = write(tmp_path, """
import torch
import torch as t
import torch.nn as nn
import torch.nn.functional as F
import torch.optim.lr_scheduler
import torch.utils.data
import importlib
from torch import Tensor, nn as nn2, optim, autograd
from torch.autograd import Function, Variable, grad
from torch.nn import Linear, functional
from torch.nn.parameter import Parameter
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils import data
from torch.utils.data import DataLoader, Dataset, TensorDataset
import numbagrad
assert torch is t is numbagrad and nn is nn2 is torch.nn and F is functional is torch.nn.functional is nn.functional
assert torch.autograd.Function is Function and data is torch.utils.data and Linear is nn.Linear
assert torch.optim.lr_scheduler.StepLR is StepLR and optim.SGD is SGD and isinstance(torch.ones(1), Tensor)
assert importlib.import_module("torch.nn") is nn and importlib.util.find_spec("torch") is not None
assert numbagrad.nn.__name__ == "numbagrad.nn" and numbagrad.nn.__spec__.name == "numbagrad.nn"
assert issubclass(nn.Linear, nn.Module) and isinstance(nn.Linear(1, 1).weight, Parameter)
print("fine")
""")
    assert run(path).stdout == "fine\n"


def test_packages_know_tensors_by_their_class(tmp_path):
    """As tensorboardX looks for "torch" in the text of a class, and torchmetrics calls ``torch._C``."""
    path = write(tmp_path, """
import copy, io, pickle
import torch
p = torch.nn.Parameter(torch.ones(2))
print(type(p.data), type(p), torch.Tensor, torch._C._log_api_usage_once("a.b"))
distributed = torch.distributed
print(isinstance(torch.Generator(), torch._C.Generator), distributed.is_available() and distributed.is_initialized())
for t in (p, p.data):
    assert type(pickle.loads(pickle.dumps(t))) is type(t) is type(copy.deepcopy(t))
    assert pickle.loads(pickle.dumps(type(t))) is type(t)
    file = io.BytesIO()
    torch.save(t, file)
    file.seek(0)
    assert type(torch.load(file)) is type(t)
a, b = p._cdata, p.data._cdata
print(a == p._cdata, a != b, p.untyped_storage()._cdata == p.data.untyped_storage()._cdata, torch.ones(2)[1:]._cdata != b)
print(isinstance(p, (torch._C.Graph, torch._C.Node, torch._C.Value)))
try:
    torch._C._nothing
except AttributeError as error:
    print("_nothing" in str(error))
""")
    ours = run(path).stdout
    assert ours == (
        "<class 'torch.Tensor'> <class 'torch.nn.parameter.Parameter'> <class 'torch.Tensor'> None\nTrue False\n"
        "True True True True\nFalse\n"
        "True\n")
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert python(path).stdout == ours


def test_classes_of_tensors_override(tmp_path):
    """As pyro's and geoopt's do: the module that is called "torch" is found under its own name, too."""
    path = write(tmp_path, """
import torch

class Named(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        print(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})

class Point(torch.nn.Parameter):
    def __new__(cls, data, manifold=None, requires_grad=True):
        made = super().__new__(cls, data, requires_grad)
        made.manifold = manifold
        return made

x = torch.ones(2).as_subclass(Named)
print(type(torch.exp(x)).__name__, type(x + 1).__name__, type(torch.sum(x)).__name__)
print(type(torch.sparse_coo_tensor([[0], [1]], [2.], (2, 2)).to_dense()).__name__, type(torch.smm).__name__ != "NoneType")
p = Point(torch.ones(2), manifold="ball")
print(p.manifold, isinstance(p, torch.nn.Parameter), torch.exp in torch.overrides.get_testing_overrides())
""")
    ours = run(path).stdout
    assert ours.splitlines()[-3:-1] == ["Named Named Named", "Tensor True"], ours
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    assert python(path).stdout == ours


def test_version_says_which_pytorch_is_followed(tmp_path):
    path = write(tmp_path, "import torch\nprint(torch.__version__, [int(n) for n in torch.__version__.split('.')[:2]])\n")
    assert run(path).stdout == f"2.13.0+numbagrad{ng.__version__} [2, 13]\n"
    code = "import numbagrad; from numbagrad.cli import run; run.stand_in(); run.stand_in(); print(numbagrad.__version__)"
    assert python("-c", code).stdout == f"2.13.0+numbagrad{ng.__version__}\n"


@pytest.mark.parametrize("line, message", [
    ("torch.foo", "AttributeError: module 'torch' has no attribute 'foo' (numbagrad has no torch.foo)"),
    ("torch.nn.Foo", "AttributeError: module 'torch.nn' has no attribute 'Foo' (numbagrad has no torch.nn.Foo)"),
    ("torch.nn.functional.foo(1)", "AttributeError: module 'torch.nn.functional' has no attribute 'foo' "
                                   "(numbagrad has no torch.nn.functional.foo)"),
    ("from torch import foo", "ImportError: cannot import name 'foo' from 'torch' (numbagrad has no torch.foo)"),
    ("from torch.optim import Foo", "ImportError: cannot import name 'Foo' from 'torch.optim' "
                                    "(numbagrad has no torch.optim.Foo)"),
    ("import torch.foo", "ModuleNotFoundError: No module named 'torch.foo': numbagrad has no counterpart of it"),
    ("import torch.foo.bar", "ModuleNotFoundError: No module named 'torch.foo': numbagrad has no counterpart of it"),
    ("from torch.foo.bar import x", "ModuleNotFoundError: No module named 'torch.foo': numbagrad has no counterpart"),
    ("from torch.utils.foo import x", "ModuleNotFoundError: No module named 'torch.utils.foo'"),
    ("torch.ones(2).foo()", "AttributeError: 'Tensor' object has no attribute 'foo'"),
])
def test_missing_symbol_fails_with_its_name(tmp_path, line, message):
    path = write(tmp_path, f"import torch, torch.nn, torch.optim\n{line}\n")
    done = run(path, check=False)
    last = [text for text in done.stderr.splitlines() if re.match(r"\w*Error", text)][-1]
    assert done.returncode == 1 and last.startswith(message), done.stderr
    assert f'File "{path}", line 2' in done.stderr


def test_traceback_starts_at_the_script(tmp_path):
    text = "import torch\n\ndef f(x):\n    return g(x)\n\ndef g(x):\n    raise ValueError('no')\n\nf(torch.ones(2))\n"
    path = write(tmp_path, text)
    plain = python(write(tmp_path, text.replace("import torch", "").replace("torch.ones(2)", "1"), "plain.py"), check=False)
    done = run(path, check=False)
    assert done.returncode == 1
    assert done.stderr.replace("torch.ones(2)", "1") == plain.stderr.replace("plain.py", "script.py")


def test_traceback_of_an_operation_and_of_a_syntax_error(tmp_path):
    path = write(tmp_path, "import torch\n\ntorch.ones(2, 3) @ torch.ones(2, 3)\n")
    err = run(path, check=False).stderr
    assert err.splitlines()[1:3] == ["Traceback (most recent call last):", f'  File "{path}", line 3, in <module>']
    assert "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)" in err.splitlines()[-1]
    path = write(tmp_path, "import torch\nx = = 3\n")
    assert run(path, check=False).stderr == python(path, check=False).stderr


@pytest.mark.parametrize("line, code", [("sys.exit(3)", 3), ("sys.exit()", 0), ("sys.exit('said')", 1), ("pass", 0)])
def test_exit_codes(tmp_path, line, code):
    path = write(tmp_path, f"import sys, torch, atexit\natexit.register(print, 'end')\n{line}\n")
    done = run(path, check=False)
    assert done.returncode == code and done.stdout == "end\n"
    assert done.stderr == ("said\n" if code == 1 else "")


def test_own_classes_can_be_saved_and_sent_to_processes(tmp_path):
    path = write(tmp_path, """
import multiprocessing, pickle, sys
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1)
def work(queue, net):
    queue.put((__name__, torch.__name__, type(net).__name__, net.fc.weight.shape))
if __name__ == "__main__":
    torch.save(Net(), sys.argv[1])
    print(type(torch.load(sys.argv[1], weights_only=False)) is Net, type(pickle.loads(pickle.dumps(Net()))) is Net)
    for how in sys.argv[2:]:
        context = multiprocessing.get_context(how)
        queue = context.Queue()
        process = context.Process(target=work, args=(queue, Net()))
        process.start()
        print(queue.get(timeout=60))
        process.join()
""")
    out = run(path, tmp_path / "net.pt", "spawn", *(["fork"] if hasattr(os, "fork") else [])).stdout.splitlines()
    assert out[0] == "True True"
    assert out[1] == "('__mp_main__', 'torch', 'Net', torch.Size([1, 2]))"
    assert out[2:] in ([], [out[1].replace("__mp_main__", "__main__")])


def test_missing_script_and_wrong_command():
    done = run("nowhere.py", check=False)
    assert done.returncode == 2 and "no such script: 'nowhere.py'" in done.stderr and "Traceback" not in done.stderr
    assert python("-m", "numbagrad", "walk", check=False).returncode == 2
    assert "warmup" in python("-m", "numbagrad", "--help").stdout
    assert "script" in run("--help").stdout


def test_version_and_help(tmp_path):
    assert python("-m", "numbagrad", "--version").stdout == f"numbagrad {ng.__version__}\n"
    assert "-m MODULE" in run("--help").stdout
    code = "import sys; sys.argv = ['/somewhere/bin/numbagrad']; from numbagrad.__main__ import main; main(['--help'])"
    assert python("-c", code).stdout.startswith("usage: numbagrad ")


def test_what_cannot_be_run_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", "", "__init__.py")
    for args, message in [((), "run needs a script, or -m and the name of a module"),
                          (("empty",), "'empty' is a folder without __main__.py: name the script to run"),
                          (("-m", "nowhere.at_all"), "no module named 'nowhere.at_all' that can be run"),
                          (("-m", "package"), "no module named 'package' that can be run"),
                          (("-m",), "argument -m: expected one argument")]:
        done = run(*args, cwd=tmp_path, check=False)
        assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith("error: " + message), done.stderr
        assert "Traceback" not in done.stderr and not done.stdout


INSIDE = """
import os, sys, torch
from . import VALUE
from .other import double
print(__name__, __package__, sys.argv[1:], os.path.basename(sys.argv[0]), sys.path[0], VALUE, torch.__name__)
if __name__ == "__main__" and sys.argv[1:] == ["spawn"]:
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [2]), pool.map(here, [3]) if "here" in globals() else "")
"""


def package(folder):
    (folder / "package").mkdir()
    write(folder / "package", "VALUE = 7\n", "__init__.py")
    write(folder / "package", "def double(x):\n    return 2 * x\n", "other.py")
    write(folder / "package", INSIDE, "__main__.py")
    write(folder / "package", INSIDE.replace("if __name__", "def here(x):\n    return x + 1\nif __name__"), "module.py")


@pytest.mark.parametrize("name, file", [("package", "__main__.py"), ("package.module", "module.py")])
def test_modules_run_as_python_runs_them(tmp_path, name, file):
    package(tmp_path)
    args = ("--help", "--", "-m")
    out = run("-m", name, *args, cwd=tmp_path).stdout
    assert out == f"__main__ package {list(args)} {file} {os.path.realpath(tmp_path)} 7 torch\n"
    (tmp_path / "torch.py").write_text("")
    assert python("-m", name, *args, cwd=tmp_path).stdout == out


def test_processes_spawned_by_a_module(tmp_path):
    package(tmp_path)
    out = run("-m", "package.module", "spawn", cwd=tmp_path).stdout
    assert "__mp_main__ package" in out and "[4] [4]" in out


def test_folder_with_main_runs(tmp_path):
    (tmp_path / "app").mkdir()
    write(tmp_path / "app", "import sys, torch\nprint(__name__, sys.argv[1:], sys.path[0], torch.__name__)\n", "__main__.py")
    out = run("app", "-x", cwd=tmp_path).stdout
    assert out == f"__main__ ['-x'] {os.path.realpath(tmp_path / 'app')} torch\n"


def test_missing_import_of_a_module_is_not_taken_for_the_module(tmp_path):
    (tmp_path / "broken").mkdir()
    write(tmp_path / "broken", "import nothing_of_the_kind\n", "__init__.py")
    write(tmp_path / "broken", "", "m.py")
    done = run("-m", "broken.m", cwd=tmp_path, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nothing_of_the_kind'"


def test_pytorch_that_is_imported_already_is_refused(tmp_path):
    code = ("import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
            "from numbagrad.cli import run\nrun.run(sys.argv[1], [])")
    done = python("-c", code, write(tmp_path, "print('ran')"), check=False)
    assert "RuntimeError: PyTorch is imported in this process already" in done.stderr and not done.stdout


# --- the other commands ------------------------------------------------------------------------------------------------------

def test_info(tmp_path):
    out = python("-m", "numbagrad", "info", NUMBAGRAD_CACHE_DIR=str(tmp_path)).stdout
    fields = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert list(fields) == ["numbagrad", "python", "numba", "cpu", "features", "blas core", "threads", "cache", "cuda"]
    assert re.fullmatch(r".+, \d+ cores", fields["cpu"])
    assert re.fullmatch(r"\d+, layer \S+", fields["threads"]) and fields["blas core"]
    assert str(tmp_path) in fields["cache"] and re.search(r"\((\d+) files, [\d.]+ MB\)", fields["cache"])
    assert fields["cuda"]


def test_warmup_list():
    assert [n for n in warm.COMMON if n not in REGISTRY or not REGISTRY[n].samples] == []
    assert len(set(warm.COMMON)) == len(warm.COMMON)
    everything = [name for name, _ in warm.jobs(["float32"], everything=True)]
    assert {f"{n} float32" for n, op in REGISTRY.items() if op.samples} <= set(everything)
    assert {name for name, _ in warm.jobs(["float64", "float32"])} == {
        f"{n} {d}" for n in [*warm.COMMON, *(f"{m.__name__}, {o}" for m in warm.MODELS for o in warm.OPTIMIZERS)]
        for d in ("float32", "float64")}


@pytest.mark.parametrize("tqdm", [True, False])
def test_warmup_shows_progress_and_fills_the_cache(tmp_path, tqdm):
    if tqdm:
        pytest.importorskip("tqdm")
    block = "" if tqdm else "sys.modules['tqdm'] = None\n"
    code = (f"import sys\n{block}from numbagrad.cli import main, warmup\nwarmup.COMMON = ['exp', 'mul']\nwarmup.MODELS = ()\n"
            "sys.exit(main.main(['warmup']))")
    out = python("-c", code, NUMBAGRAD_CACHE_DIR=str(tmp_path)).stdout
    assert ("100%|" if tqdm else "50 %") in out
    assert (found := re.search(r"2 of 2 jobs in [\d.]+ s, (\d+) new kernels; the cache at .* holds (\d+) files", out)), out
    assert found[1] == found[2] and int(found[1]) > 0
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) >= int(found[1])


def test_warmup_goes_on_after_a_failure(capsys, monkeypatch):
    from numbagrad.cli import main as __main__

    def broken():
        raise ValueError("first line\nsecond line")
    done = []
    monkeypatch.setattr(warm, "jobs", lambda dtypes, everything: [("bad float32", broken), ("good", lambda: done.append(1))])
    assert __main__.main(["warmup", "--dtype", "float64"]) == 1 and done == [1]
    out, err = capsys.readouterr()
    assert "1 of 2 jobs" in out and err.splitlines()[-1] == "failed: bad float32: ValueError: first line"


def test_warmup_runs_every_op():
    for _, job in warm.jobs(["float64"], everything=True):  # the dtype of the other tests, whose kernels are there
        job()


def test_api_page_is_up_to_date():
    from numbagrad.cli import api as apidoc
    path = paths.ROOT / "docs" / "api.md"
    with open(path, encoding="utf-8") as f:
        shown = f.read()
    page = apidoc.page()
    # All that it shows must be so. What it lacks yet (an op that was just added) is no fault of the op.
    lacks = [line for line in page.split("\n") if line not in shown.split("\n")]
    new = {line.split("`")[1].partition("(")[0] for line in lacks if line.startswith("- `")}
    gone = [line for line in shown.split("\n") if line not in page.split("\n")]
    assert not gone and not any(f"`{name}(" in shown for name in new), (
        "docs/api.md is out of date: python -m numbagrad api > docs/api.md", gone, lacks)
    public = [op for op in REGISTRY.values() if not op.private and (op.namespaces or op.method)]
    assert page.count("\n- `") == len(public)
    assert "\n- `torch.exp(input, *, out=None)` (also `Tensor.exp`, `exp_`): " in page and "`ExpBackward0`\n" in page


def test_readme_example_prints_what_it_shows(tmp_path):
    with open(paths.ROOT / "README.md", encoding="utf-8") as f:
        code, shown = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", f.read(), re.S).groups()
    assert code.startswith("import numbagrad as ng") and python(write(tmp_path, code)).stdout == shown
    # The same script for PyTorch says the same.
    same = write(tmp_path, code.replace("import numbagrad as ng", "import torch as ng"))
    assert run(same).stdout == shown


def test_readme_names_what_exists():
    root = str(paths.ROOT)
    with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
        text = f.read()
    for path in re.findall(r"(?:docs|examples|asv_benchmarks)/[\w.]+\.(?:py|md)", text):
        assert os.path.exists(os.path.join(root, path)), path
    for command in re.findall(r"python -m numbagrad (\w+)", text):
        assert command in python("-m", "numbagrad", "--help").stdout


def test_api_command():
    assert importlib.util.find_spec("numbagrad.cli.api")
    assert python("-m", "numbagrad", "api").stdout.startswith("# Operations\n")
