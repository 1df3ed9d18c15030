"""What is installed: every folder of the package, true requirements, and a source distribution with what its tests read."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.base import requires

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def folders(top, package):
    """Package names of all folders with Python files below a folder."""
    found = {package}
    for path, below, files in os.walk(top):
        below[:] = [d for d in below if d != "__pycache__"]
        if any(f.endswith(".py") for f in files):
            found.add(".".join([package, *os.path.relpath(path, top).split(os.sep)]) if path != top else package)
    return found


def test_every_folder_of_the_package_is_installed():
    setup = configparser.ConfigParser()
    setup.read_string(read("setup.cfg"))
    listed = setup["options"]["packages"].split()
    assert listed == sorted(set(listed))
    on_disk = folders(os.path.join(ROOT, "numbagrad"), "numbagrad") | folders(os.path.join(ROOT, "ops"), "numbagrad.ops")
    assert set(listed) == on_disk
    for name in listed:  # each is a package of its own and not a namespace
        path = name.replace("numbagrad.ops", "ops").replace(".", os.sep)
        assert os.path.exists(os.path.join(ROOT, path, "__init__.py")), name


def test_folder_comparison_notices_a_new_one(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.py").write_text("")
    (tmp_path / "__pycache__").mkdir()
    assert folders(tmp_path, "p") == {"p", "p.a.b"}


def test_every_module_can_be_found():
    for package in ("numbagrad.compiler", "numbagrad.kernel.vecmath", "numbagrad.ops", "numbagrad.utils.data"):
        assert importlib.util.find_spec(package).submodule_search_locations


def test_source_distribution_holds_every_folder_of_the_repository():
    manifest = read("MANIFEST.in").split("\n")
    grafted = {line.split()[1] for line in manifest if line.startswith("graft ")}
    included = {name for line in manifest if line.startswith("include ") for name in line.split()[1:]}
    assert {"numbagrad", "ops", "tests", "examples", "docs", "asv_benchmarks"} <= grafted
    if os.path.exists(os.path.join(ROOT, ".git")):
        try:
            tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("git does not answer here")
        # setuptools puts these two in by itself.
        assert {t.partition("/")[0] for t in tracked if t} <= grafted | included | {"pyproject.toml", "setup.cfg"}


def test_requirements_that_are_imported_late_are_those_of_the_project():
    listed = re.findall(r'^    "((numba|scipy)[<>=].*?)"', read("pyproject.toml"), re.M)
    assert {name: text for text, name in listed} == requires.NEEDED


def test_version_and_license():
    project = read("pyproject.toml")
    assert 'version = {attr = "numbagrad.__version__"}' in project and re.fullmatch(r"\d+\.\d+\.\d+", ng.__version__)
    assert 'license = "BSD-3-Clause"' in project and "License ::" not in project
    assert read("LICENSE").startswith("BSD 3-Clause License") or "Redistribution and use" in read("LICENSE")


def test_command_is_installed():
    try:
        (entry,) = [e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == "numbagrad"][:1]
    except ValueError:
        pytest.skip("numbagrad is not installed, or by an older project file")
    from numbagrad.cli.main import main
    assert entry.load() is main


# --- what is missing is named ------------------------------------------------------------------------------------------------

def without(package, code, **env):
    """Run code where a package cannot be imported; the last line of standard error."""
    text = f"import sys; sys.modules[{package!r}] = None\nimport numbagrad as ng\n{code}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env={**os.environ, **env})
    return done.returncode, done.stdout, (done.stderr.splitlines() or [""])[-1]


@pytest.mark.parametrize("code", ["ng.ones(2, 2) @ ng.ones(2, 2)", "ng.nn.Linear(2, 2)(ng.ones(1, 2))"])
def test_without_scipy_a_product_names_it(code):
    code, _, last = without("scipy", code)
    assert code == 1
    assert last == ("ModuleNotFoundError: matrix products need the package scipy, which is not installed: "
                    'pip install "scipy>=1.11"')


def test_without_scipy_the_rest_works():
    code, out, last = without("scipy", "print((ng.ones(2) + 1).exp().sum().item() > 0)")
    assert (code, out) == (0, "True\n"), last


def test_without_numba_the_first_kernel_names_it():
    code, _, last = without("numba", "ng.ones(2).exp()")
    assert code == 1 and last == ("ModuleNotFoundError: numbagrad's kernels need the package numba, which is not installed: "
                                  f'pip install "{requires.NEEDED["numba"]}"')


@pytest.mark.parametrize("version, fits", [("0.61.2", False), ("0.62.1", False), ("0.63.0", True), ("0.63.0rc1", True),
                                           ("0.68.1", True), ("1.0.0", True)])
def test_too_old_a_numba_is_refused(monkeypatch, version, fits):
    import numba
    monkeypatch.setattr(numba, "__version__", version)
    if fits:
        assert requires.load_numba() is numba
        return
    with pytest.raises(ImportError, match=rf"numbagrad needs numba>=.*, but numba {version} is installed: pip install"):
        requires.load_numba()


def test_a_package_that_is_broken_inside_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "scipy.py").write_text("import nothing_of_the_kind")
    monkeypatch.delitem(sys.modules, "scipy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="^No module named 'nothing_of_the_kind'$"):
        requires.load("scipy", "matrix products")
    sys.modules.pop("scipy", None)


@pytest.mark.parametrize("package, field, text", [
    ("scipy", "numba", 'scipy missing: pip install "scipy>=1.11"'), ("scipy", "blas core", 'pip install "scipy>=1.11"'),
    ("numba", "numba", 'missing: pip install "numba>='), ("cuda", "cuda", 'pip install "numbagrad[cuda]"'),
    ("numba_cuda", "cuda", 'pip install "numbagrad[cuda]"')])
def test_info_names_what_is_missing(package, field, text):
    if "cuda" in package and ng.cuda.is_available():
        pytest.skip("there is a CUDA device")
    code, out, last = without(package, "from numbagrad.__main__ import main\nmain(['info'])")
    fields = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert code == 0 and text in fields[field], out + last


def test_source_folder_first_on_the_path_finds_its_operations(tmp_path):
    """As in the repository after ``pip install .``: the current folder's package comes first, and has no ops inside."""
    code = (f"import sys; sys.path.insert(0, {ROOT!r})\n"
            "sys.meta_path = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '').lower()"
            " and 'editable' not in getattr(f, '__name__', '').lower()]\n"
            "import numbagrad as ng\nprint(ng.__file__, ng.ops.__file__, ng.__path__, ng.ones(2).exp().shape)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    inside = os.path.join(ROOT, "numbagrad", "__init__.py")
    assert out.split()[:3] == [inside, os.path.join(ROOT, "ops", "__init__.py"), f"['{os.path.join(ROOT, 'numbagrad')}']"]
