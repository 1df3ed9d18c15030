"""The disk cache: what is found again, what is not, and what happens to damaged files and unusable directories."""

import ctypes
import os
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numbagrad.kernel import cache

SIGNATURE = "int64(int64, int64)"
ROOT = str(Path(cache.__file__).resolve().parents[2])
FACTOR = 3


def helper(x):
    return x * FACTOR


def define(text="a * 10 + b", name="kernel", **names):
    space = {"__name__": __name__, **names}
    exec(f"def {name}(a, b):\n    return {text}\n", space)
    return space[name]


def compiled(fn, key=None, **options):
    import numba

    dispatcher = cache.attach(numba.njit(**options)(fn), key or cache.fingerprint(fn))
    dispatcher.compile(SIGNATURE)
    return dispatcher


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setitem(cache._counts, "hits", 0)
    monkeypatch.setitem(cache._counts, "misses", 0)
    return tmp_path / "kernels"


def files(place):
    return sorted(place.rglob("*" + cache.SUFFIX))


def counts():
    info = cache.cache_info()
    return info["hits"], info["misses"]


def run(script, **env):
    """Output of a script in a fresh process that imports this project."""
    env = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "error", **env}
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_found_again_with_both_entry_points(place):
    compiled(define())
    assert counts() == (0, 1) and len(files(place)) == 1
    again = compiled(define())
    assert counts() == (1, 1) and len(files(place)) == 1
    assert again.py_func(2, 3) == 23
    (result,) = again.overloads.values()
    assert result.entry_point(2, 3) == 23 and again(2, 3) == 23
    address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address)(2, 3) == 23


def test_loaded_function_can_be_called_by_newly_compiled_code(place):
    import numba

    compiled(define())
    loaded = compiled(define())
    assert counts() == (1, 1)

    @numba.njit
    def caller(x):
        return loaded(x, 1) + 0.5

    assert caller(4) == 41.5


def test_code_that_allocates_and_raises(place):
    script = """
    import numpy as np, numba
    from numbagrad.kernel import cache
    def fn(n):
        if n < 0:
            raise ValueError("negative")
        return np.arange(n).sum() + len([n] * n)
    fn.__module__ = "numbagrad.kernel.cache"
    f = cache.attach(numba.njit(fn), cache.fingerprint(fn))
    f.compile("int64(int64)")
    assert f(4) == 10
    try:
        f(-1)
    except ValueError as error:
        print(error, cache.cache_info()["hits"])
    """
    assert run(script) == "negative 0\n"
    assert run(script) == "negative 1\n"


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign", "half"])
def test_damaged_file_is_compiled_again(place, damage):
    compiled(define())
    (file,) = files(place)
    good = file.read_bytes()
    bad = {
        "truncated": good[:-1],
        "empty": b"",
        "flipped": good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
        "foreign": b"x" * len(good),
        "half": good[: len(good) // 2],
    }[damage]
    file.write_bytes(bad)
    assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2)
    assert compiled(define())(2, 3) == 23
    assert counts() == (1, 2)


def test_sound_file_with_unusable_content_is_compiled_again(place):
    import hashlib
    import pickle

    compiled(define())
    (file,) = files(place)
    payload = pickle.dumps("no compile result")
    file.write_bytes(cache.MAGIC + hashlib.sha256(payload).digest() + payload)
    assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2)


def test_symbol_that_does_not_exist_is_a_miss(place):
    import hashlib
    import pickle

    compiled(define())
    (file,) = files(place)
    symbols, starters, parts = pickle.loads(file.read_bytes()[cache._HEADER :])
    payload = pickle.dumps((["numbagrad_no_such_symbol", *symbols], starters, parts))
    file.write_bytes(cache.MAGIC + hashlib.sha256(payload).digest() + payload)
    # Linking such code would end the process.
    assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2)


def test_damaged_file_in_a_read_only_directory(place, monkeypatch):
    compiled(define())
    (file,) = files(place)
    file.write_bytes(b"damaged")

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache, "_create", refuse)
    monkeypatch.setattr(cache.os, "unlink", refuse)
    assert compiled(define())(2, 3) == 23
    assert file.read_bytes() == b"damaged"


def test_unwritable_directory_falls_back_with_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(cache, "_places", {})
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(cache, "_temp_dir", lambda: str(tmp_path / "mine"))
    with pytest.warns(RuntimeWarning, match="cannot write its kernel cache"):
        compiled(define())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(define())
        assert cache.cache_dir().startswith(str(tmp_path / "mine"))
        assert len(files(tmp_path / "mine")) == 1


def test_no_directory_at_all_still_compiles(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(cache, "_places", {})
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(cache, "_temp_dir", lambda: str(tmp_path / "file" / "too"))
    with pytest.warns(RuntimeWarning, match="compiled again in every process"):
        assert compiled(define())(2, 3) == 23
    assert cache.cache_info()["path"] is None and cache.clear() == 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
def test_shared_temporary_directory_is_not_trusted(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir(mode=0o700)
    theirs.mkdir()
    theirs.chmod(0o777)
    (tmp_path / "link").symlink_to(mine)
    assert cache._trusted(mine)
    assert not cache._trusted(theirs) and not cache._trusted(tmp_path / "link") and not cache._trusted(tmp_path / "no")


def test_two_processes_cold_at_once(place):
    script = """
    import numba
    from numbagrad.kernel import cache
    def fn(a, b):
        return a * 7 + b
    fn.__module__ = "numbagrad.kernel.cache"
    f = cache.attach(numba.njit(fn), cache.fingerprint(fn))
    f.compile("int64(int64, int64)")
    print(f(2, 3))
    """
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, [script] * 2)) == ["17\n"] * 2
    assert len(files(place)) == 1
    assert [p for p in place.rglob("*") if p.is_file()] == files(place)


def test_same_name_different_content(place):
    # Numba names native symbols after module, name, a count of the process, and types. Two processes store different
    # functions, with different callees, under the same names; a third one links both.
    script = """
    import numba
    from numbagrad.kernel import cache
    results = []
    for text in {}:
        space = {{"__name__": "numbagrad.kernel.cache"}}
        exec(f"def inner(a, b):\\n    return {{text}}\\ndef kernel(a, b):\\n    return inner(a, b) * 10\\n", space)
        # Kept out of line, so that the stored code calls it by its symbol.
        space["inner"] = numba.njit(_dbg_optnone=True)(space["inner"])
        f = cache.attach(numba.njit(space["kernel"]), cache.fingerprint(space["kernel"]))
        f.compile("int64(int64, int64)")
        (result,) = f.overloads.values()
        results.append((f, result.library.get_pointer_to_function(result.fndesc.llvm_cpython_wrapper_name)))
    print([f(2, 3) for f, _ in results], len({{p for _, p in results}}), cache.cache_info()["hits"])
    """
    assert run(script.format(["a + b"])) == "[50] 1 0\n"
    assert run(script.format(["a - b"])) == "[-10] 1 0\n"
    assert run(script.format(["a + b", "a - b"])) == "[50, -10] 2 2\n"


def test_options_and_signatures_are_separate_entries(place):
    fn = define("a / (b + 1)")
    first = compiled(fn, error_model="numpy")
    compiled(define("a / (b + 1)"), error_model="python")
    compiled(define("a / (b + 1)"), error_model="numpy", fastmath={"nsz", "arcp", "contract"})
    compiled(define("a / (b + 1)"), error_model="numpy", fastmath={"contract", "arcp", "nsz"})
    assert counts() == (1, 3)
    first.compile("float64(float64, float64)")
    assert counts() == (1, 4)


def test_cpu_and_features_are_part_of_the_name(place):
    import numba

    dispatcher = cache.attach(numba.njit(define()), "key")

    def name(*target):
        return dispatcher._cache.file_name(SIGNATURE, SimpleNamespace(magic_tuple=lambda: target))

    base = name("x86_64", "znver4", "+avx2,+avx512f")
    assert base == name("x86_64", "znver4", "+avx2,+avx512f")
    others = {base, name("x86_64", "znver3", "+avx2,+avx512f"), name("x86_64", "znver4", "+avx2"), name("aarch64",)}
    assert len(others) == 4


def test_numba_cpu_name_of_the_environment_is_honoured(place):
    script = """
    import numba
    from numbagrad.kernel import cache
    f = cache.attach(numba.njit(lambda a, b: a), "key")
    print(f._cache.file_name("int64(int64, int64)", f.targetctx.codegen()))
    """
    assert run(script) == run(script)
    assert run(script) != run(script, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")


def test_disabled_cache_neither_reads_nor_writes(place):
    import numba

    fn = define()
    dispatcher = cache.attach(numba.njit(fn), cache.fingerprint(fn))
    dispatcher._cache.disable()
    dispatcher.compile(SIGNATURE)
    assert files(place) == [] and counts() == (0, 0)
    assert dispatcher._cache.cache_path == cache.cache_dir()


def test_signature_that_names_an_address_is_not_stored(place):
    import numba

    inner = numba.njit(define())
    outer = cache.attach(numba.njit(lambda f, a: f(a, 1)), "takes a function")
    assert outer(inner, 2) == 21
    assert files(place) == []


def test_clear_and_info(place):
    compiled(define())
    compiled(define("a - b"))
    info = cache.cache_info()
    assert info["files"] == 2 and info["bytes"] == sum(f.stat().st_size for f in files(place))
    assert info["path"].startswith(str(place))
    assert cache.clear() == 2 and cache.cache_info()["files"] == 0


def test_least_recently_used_files_are_swept(tmp_path):
    folder = tmp_path / "versions"
    folder.mkdir()
    for age in range(8):
        file = folder / f"{age}{cache.SUFFIX}"
        file.write_bytes(b"x" * 100)
        os.utime(file, (1e9 - age, 1e9 - age))
    (folder / "dead.tmp").write_bytes(b"x")
    os.utime(folder / "dead.tmp", (1e9, 1e9))
    (folder / "live.tmp").write_bytes(b"x")
    cache._sweep(str(folder), 800)
    assert len(list(folder.glob("*" + cache.SUFFIX))) == 8
    assert (folder / "live.tmp").exists() and not (folder / "dead.tmp").exists()
    cache._sweep(str(folder), 799)
    assert sorted(f.name for f in folder.glob("*" + cache.SUFFIX)) == [f"{i}{cache.SUFFIX}" for i in range(5)]


def test_a_hit_marks_the_file_as_used(place):
    compiled(define())
    (file,) = files(place)
    os.utime(file, (1e9, 1e9))
    compiled(define())
    assert file.stat().st_mtime > 1e9 + 1


# ----------------------------------------------------------------------------------------------------- fingerprint


def test_fingerprint_follows_callees_and_constants():
    def make(body, factor):
        space = {"__name__": __name__, "FACTOR": factor}
        exec(f"def helper(x):\n    return {body}\ndef outer(x):\n    return helper(x) + 1\n", space)
        return space["outer"]

    base = cache.fingerprint(make("x * FACTOR", 3))
    assert base == cache.fingerprint(make("x * FACTOR", 3))
    assert base == cache.fingerprint(make("x * FACTOR  # a comment", 3))
    different = {base, *(cache.fingerprint(make("x * FACTOR", v)) for v in (4, 3.0, np.float32(3), -0.0, 0.0))}
    different.add(cache.fingerprint(make("x + FACTOR", 3)))
    assert len(different) == 7


def test_fingerprint_follows_dispatchers_and_their_options():
    import numba

    def of(**options):
        return cache.fingerprint(define("helper(a) + b", helper=numba.njit(**options)(helper)))

    assert of() == of()
    assert len({of(), of(fastmath=True), of(fastmath={"nsz"}), of(error_model="numpy")}) == 4
    assert cache.fingerprint(numba.njit(helper)) == cache.fingerprint(helper)


def test_fingerprint_sees_closures_defaults_overrides_and_modules():
    def closing(value):
        return lambda a: a + value

    def defaulting(value):
        return lambda a, b=value: a + b

    assert cache.fingerprint(closing(1)) != cache.fingerprint(closing(2))
    assert cache.fingerprint(defaulting(1)) != cache.fingerprint(defaulting(2))
    fn = define("exp(a)")
    assert cache.fingerprint(fn, {"exp": "one"}) != cache.fingerprint(fn, {"exp": "two"})
    assert cache.fingerprint(fn, {"exp": "one", "unused": 1}) == cache.fingerprint(fn, {"exp": "one"})
    own = type(sys)("own")
    own.scale, own.other = 2, 3
    fn = define("a * own.scale", own=own)
    before = cache.fingerprint(fn)
    own.other = 4
    assert cache.fingerprint(fn) == before
    own.scale = 5
    assert cache.fingerprint(fn) != before


def test_fingerprint_of_recursion_and_unusable_globals():
    space = {"__name__": __name__}
    exec("def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\n", space)
    assert cache.fingerprint(space["even"]) != cache.fingerprint(space["odd"])
    with pytest.raises(TypeError, match="cannot fingerprint global 'thing' of type object"):
        cache.fingerprint(define("thing", thing=object()))


def test_fingerprint_is_the_same_in_every_process():
    script = """
    import math, numpy as np, numba
    from numba.extending import intrinsic
    from numbagrad.kernel import cache, threads
    call, peek, exchange = threads._intrinsics()
    SET, ARRAY, KIND = frozenset(["a", "b", "c"]), np.arange(3.0), numba.types.float32
    @numba.njit(fastmath={"nsz", "arcp", "contract"})
    def inner(x):
        return KIND(x) if x in (1, 2) or x in {"p", "q", "r"} else math.exp(np.float32(x)) + ARRAY[0]
    def outer(x, y: "*T" = 2.5):
        return inner(x) + y + peek(x) + len(SET)
    print(cache.fingerprint(outer))
    """
    assert run(script, PYTHONHASHSEED="1") == run(script, PYTHONHASHSEED="2")
