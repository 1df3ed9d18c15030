"""PyTorch's documented names: the list is that of the installed PyTorch, page and README say which are here, and these take
PyTorch's arguments."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
import tokenize

import paths
import pytest

import numbagrad as ng
from numbagrad.cli import api, documented, run
from numbagrad.extend import REGISTRY
from numbagrad.public import absent
from numbagrad.public.documented import DOCUMENTED, VERSION

# Where parameters differ, and why.
KNOWN = {
    "torch.compile": "another compiler, which has its own options",
    "Tensor.norm": "is the function, which has out before dtype",
    **{f"nn.{name}": "the default activation is named, not imported" for name in (
        "Transformer", "TransformerDecoderLayer", "TransformerEncoderLayer")},
    "utils.data.random_split": "None stands for the default generator",
    "autograd.profiler.FunctionEvent": "made by the profiler, of what it measures",
    **{f"fx.{name}": "nothing is traced" for name in ("Graph", "Node", "Proxy", "Tracer")}}


def theirs(space):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    return torch.Tensor if space == "Tensor" else torch if space == "torch" else importlib.import_module("torch." + space)


def test_the_list_is_that_of_the_installed_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    if torch.__version__.partition("+")[0] != VERSION:
        pytest.skip(f"the list is of PyTorch {VERSION}")
    found, version = documented.of_torch()
    with open(documented.PATH, encoding="utf-8") as f:
        assert f.read() == documented.text(found, version), "python -m numbagrad names"
    assert sum(len(names) for names in found.values()) > 2000


def test_page_and_readme_count_what_is_here():
    page, readme = ((paths.ROOT / name).read_text(encoding="utf-8") for name in ("docs/api.md", "README.md"))
    assert documented.sections() in page, "python -m numbagrad api --write"
    assert documented.sentence() in re.sub(r"\s+", " ", readme), "python -m numbagrad api --write"
    old = readme.replace(documented.sentence(), "Of the 2 names that PyTorch 1.0 documents in its namespaces 1,000 are here")
    assert api.counted(old) == api.counted(readme) and documented.sentence() in api.counted(old)
    with pytest.raises(ValueError, match="no sentence"):
        api.counted("nothing")


def test_names_only_are_counted_as_such():
    only = {space: documented.names_only(space) for space in DOCUMENTED}
    assert {"int4", "float8_e4m3fn", "complex32", "SymInt"} <= set(only["torch"]) and "CUDAGraph" in only["cuda"]
    assert not {"float16", "uint16", "matmul", "Size"} & set(only["torch"]) and "load_state_dict_from_url" not in only["hub"]
    with pytest.raises(RuntimeError, match="numbagrad downloads nothing"):
        [getattr(ng.hub, name) for name in only["hub"]][0]("a", "b")
    page = (paths.ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert f"Here as names only: `{'`, `'.join(only['jit'])}`" in page and f" {sum(map(len, only.values()))} of them" in page


def plain(value):
    """A default as text, without the name of the library and the place in memory."""
    if value is inspect.Parameter.empty:
        return None
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return repr(value).replace("torch.", "").replace("numbagrad.", "")


def parameters(value):
    """Those of a callable, or None where Python does not know them or they may be anything."""
    try:
        found = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None
    return None if [p.kind for p in found] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD] else found


def misfits(wanted, given, method):
    """What of PyTorch's parameters ours do not take."""
    several, words = (any(p.kind is kind for p in given) for kind in (
        inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD))
    by_name = {"self" if method and i == 0 else p.name: (i, p) for i, p in enumerate(given)}
    for i, p in enumerate(wanted):
        if p.name.startswith("_"):
            continue
        if p.kind is p.VAR_POSITIONAL or p.kind is p.VAR_KEYWORD:
            if not (several if p.kind is p.VAR_POSITIONAL else words):
                yield f"{p}"
        elif p.name not in by_name:
            if not (words or several and p.kind is p.POSITIONAL_ONLY):
                yield f"no {p.name}"
        else:
            place, ours = by_name[p.name]
            if p.kind is not p.KEYWORD_ONLY and (ours.kind is p.KEYWORD_ONLY or place != i):
                yield f"{p.name} is argument {place} ({ours.kind.name}), not {i}"
            if plain(p.default) != plain(ours.default):
                yield f"{p.name}={plain(ours.default)}, not {plain(p.default)}"


def compared():
    """(full name, PyTorch's parameters, ours, whether it is a method) of all that Python knows the parameters of."""
    for space in DOCUMENTED:
        there, here = theirs(space), documented.place(space)
        for name, is_here in documented.present(space).items():
            value = getattr(there, name, None)
            wanted = parameters(value) if is_here and callable(value) else None
            if wanted is not None:
                ours = getattr(here, name)
                yield f"{space}.{name}", wanted, parameters(ours), space == "Tensor"


def test_parameters_are_those_of_pytorch():
    checked, wrong = 0, {}
    for name, wanted, given, method in compared():
        checked += 1
        found = [] if given is None else list(misfits(wanted, given, method))
        if found and name not in KNOWN:
            wrong[name] = found
        assert found or name not in KNOWN, f"{name} fits: take it off the list"
    assert not wrong and checked > 600


def test_misfits_are_found():
    def f(a, b=1, *, c=2):
        pass

    def wanted(a, b=2, *, c=2, d=3):
        pass
    assert list(misfits(parameters(wanted), parameters(f), False)) == ["b=1, not 2", "no d"]
    assert list(misfits(parameters(f), parameters(lambda b, a, c=2: 0), False)) == [
        "a is argument 1 (POSITIONAL_OR_KEYWORD), not 0", "b is argument 0 (POSITIONAL_OR_KEYWORD), not 1", "b=None, not 1"]


def mentioned():
    """All words of the tests' code and texts."""
    found = set()
    for path in paths.TESTS.rglob("*.py"):
        with open(path, "rb") as f:
            for token in tokenize.tokenize(f.readline):
                if token.type in (tokenize.NAME, tokenize.STRING):
                    found.update(re.findall(r"\w+", token.string))
    for path in (paths.TESTS / "parity.json", *paths.TESTS.rglob("*.txt")):
        found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return found


def test_each_name_that_is_here_has_a_test():
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    ops = set()
    for op in REGISTRY.values():
        names = (op.name, op.method, *op.aliases)
        ops.update(names, [f"{n}_" for n in names if op.inplace])
    tested = mentioned() | ops
    by_parameters = {name for name, *_ in compared()}
    lacking = [f"{space}.{name}" for space in DOCUMENTED for name, is_here in documented.present(space).items()
               if is_here and name not in tested and f"{space}.{name}" not in by_parameters]
    assert not lacking


def absent_names():
    """(namespace, name, what says that it is not there: a module, a tensor, or the package where there is no module)."""
    for space in DOCUMENTED:
        there = ng.ones(2) if space == "Tensor" else documented.place(space)
        yield from ((space, name, there) for name, is_here in documented.present(space).items() if not is_here)


def test_absent_names_say_so():
    count = 0
    for space, name, there in absent_names():
        with pytest.raises(AttributeError, match=name if there is not None else space.split(".")[0]) as caught:
            functools.reduce(getattr, [*space.split("."), name] if there is None else [name], ng if there is None else there)
        run._name(caught.value)  # as scripts see it
        text, instead = str(caught.value), absent.INSTEAD.get(name if space == "torch" else f"{space}.{name}")
        assert "is not available here" in text or "numbagrad has no" in text
        assert there is None or instead is None or f"; use {instead}" in text, text
        count += 1
    assert count == documented.counts()[1] - documented.counts()[0]


def test_advice_is_of_names_that_are_absent():
    spaces = {space for space, *_ in absent_names()}
    for name, instead in absent.INSTEAD.items():
        space, _, last = name.rpartition(".")
        assert not documented.present(space or "torch").get(last), f"{name} is here"
        assert last in DOCUMENTED[space or "torch"].split() or name in (*spaces, "export"), f"nobody asks for {name}"
        assert instead in absent.advice(space or "torch", last)


def test_a_script_is_told_what_to_use(tmp_path):
    script = tmp_path / "script.py"
    for line, words in (("torch.ones(2).q_scale()", "object has no attribute 'q_scale' (numbagrad has no Tensor.q_scale"),
                        ("torch.quantize_per_tensor", "(numbagrad has no torch.quantize_per_tensor"),
                        ("torch.linalg.nothing", "'torch.linalg' has no attribute 'nothing' (numbagrad has no torch.linalg"),
                        ("torch.ones(2, dtype=torch.complex32)", "use torch.complex64"),
                        ("torch.lobpcg", "use torch.linalg.eigh"), ("torch.ones(2).nothing", "no attribute 'nothing'\n")):
        script.write_text(f"import torch\n{line}\n")
        command = [sys.executable, "-m", "numbagrad", "run", str(script)]
        out = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert words in out.stderr, out.stderr


def test_names_command():
    text = documented.text({"torch": ["a", "b"], "nn": []}, "1.0")
    scope = {}
    exec(compile(ast.parse(text), "documented", "exec"), scope)
    assert scope["DOCUMENTED"] == {"torch": "a b", "nn": ""} and scope["VERSION"] == "1.0"
    assert "names" in subprocess.run([sys.executable, "-m", "numbagrad", "--help"], capture_output=True, text=True).stdout
    assert ng.__version__
