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

from numbagrad.kernel import cache, entry, trust

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


def rewrite(file, payload):
    """Give a file of the cache another content, with its checksum."""
    file.write_bytes(cache.MAGIC + cache._checksum(file.name, payload) + payload)


def test_sound_file_with_unusable_content_is_compiled_again(place):
    compiled(define())
    (file,) = files(place)
    good = file.read_bytes()[cache._HEADER :]
    header = slice(24, 24 + int.from_bytes(good[:8], "little"))
    contents = [b"", b"no compile result", b"\xff" * 200, good[:100], good[: len(good) // 2], good[:8] + b"\xff" * 100]
    for old, new in ((__name__.encode(), b"x" * len(__name__)), (b'"int64"', b'"int65"'), (b'"qualname"', b'"__doc__" '),
                     (b'"mangled_name"', b'"qualname"    '), (b"{", b"["), (b"[", b"{"), (b'"', b"'")):
        assert old in good[header]
        contents.append(good[:24] + good[header].replace(old, new) + good[header.stop :])
    for content in contents:
        rewrite(file, content)
        assert compiled(define())(2, 3) == 23
    assert counts() == (0, 1 + len(contents))


def test_symbol_that_does_not_exist_is_a_miss(place):
    compiled(define())
    (file,) = files(place)
    symbols, starters, parts = entry.load(memoryview(file.read_bytes())[cache._HEADER :])
    rewrite(file, entry.dump(["numbagrad_no_such_symbol", *symbols], starters, parts))
    # Linking such code would end the process.
    assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2)


def test_entries_hold_what_numba_needs_and_no_pickle(place):
    import numba
    from numba import types

    def fill(out, pair, flag):
        if flag:
            out[0] = pair[0] + pair[1]
        return out[0], 1.5

    key = cache.fingerprint(fill)
    sig = types.Tuple((types.complex64, types.float64))(
        types.Array(types.complex64, 1, "C", readonly=False, aligned=False), types.UniTuple(types.uint8, 2), types.boolean)
    for hit in (False, True):
        dispatcher = cache.attach(numba.njit(fill), key)
        dispatcher.compile(sig)
        assert counts()[0] == hit
        (result,) = dispatcher.overloads.values()
        assert result.signature == sig and result.fndesc.argtypes == sig.args
    (file,) = files(place)
    data = file.read_bytes()
    assert b"cnumba" not in data and b"_rebuild" not in data and b"_reconstructor" not in data
    first = entry.load(memoryview(data)[cache._HEADER :])
    again = entry.load(memoryview(entry.dump(*first)))
    assert again[0] == first[0] and again[2][0] == first[2][0] and again[2][3].args == sig.args


def test_what_an_entry_cannot_hold_is_compiled_in_every_process(place):
    import numba

    dispatcher = cache.attach(numba.njit(lambda text: len(text)), "takes text")
    assert dispatcher("abc") == 3
    assert files(place) == []


def test_a_file_under_another_name_is_refused(place):
    compiled(define())
    compiled(define("a - b"))
    first, second = files(place)
    kept = first.read_bytes(), second.read_bytes()
    first.write_bytes(kept[1])
    second.write_bytes(kept[0])
    assert compiled(define())(2, 3) == 23 and compiled(define("a - b"))(2, 3) == -1
    assert counts() == (0, 4)
    assert compiled(define())(2, 3) == 23 and compiled(define("a - b"))(2, 3) == -1
    assert counts() == (2, 4)
    cache.write_bytes("one", b"1")
    cache.write_bytes("two", b"2")
    assert bytes(cache.read_bytes("one")) == b"1"
    folder = first.parent
    os.replace(folder / ("one" + cache.SUFFIX), folder / ("two" + cache.SUFFIX))
    assert cache.read_bytes("two") is None and cache.read_bytes("one") is None


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
    monkeypatch.setattr(cache, "_temp_dir", lambda: str(tmp_path / "file" / "too"))
    with pytest.warns(RuntimeWarning, match="compiled again in every process"):
        assert compiled(define())(2, 3) == 23
    assert cache.cache_info()["path"] is None and cache.clear() == 0


# ------------------------------------------------------------------------------------------------ who else may write

posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")


def info(mode, uid=None, gid=54321):
    return SimpleNamespace(st_mode=mode, st_uid=os.geteuid() if uid is None else uid, st_gid=gid)


@posix
def test_who_may_write(monkeypatch):
    monkeypatch.setattr(trust.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(trust, "_unmapped", lambda: None)
    for mode in (0o755, 0o700, 0o644, 0o400, 0o1755):
        assert trust.problem(info(mode)) is None and trust.problem(info(mode, 0)) is None
        assert "belongs to user 1234, this is user 1000" in trust.problem(info(mode, 1234))
        assert "belongs to user 1234" in trust.problem(info(mode, 1234), above=True)
    for mode in (0o777, 0o775, 0o757, 0o602):
        for uid in (0, 1000):
            assert f"(mode {mode:04o})" in trust.problem(info(mode, uid))
            assert "other users" in trust.problem(info(mode, uid), above=True)
            assert "other users" in trust.problem(info(mode | 0o1000, uid))
            assert trust.problem(info(mode | 0o1000, uid), above=True) is None, "/tmp"
    # The group that some systems make for each user.
    monkeypatch.setattr(trust, "_private", lambda group: group == 1000)
    assert trust.problem(info(0o775, gid=1000)) is None
    assert "other users" in trust.problem(info(0o775, gid=100))
    assert "other users" in trust.problem(info(0o777, gid=1000))
    # Outside of a container everything seems to belong to one user.
    monkeypatch.setattr(trust, "_unmapped", lambda: 65534)
    assert trust.problem(info(0o755, 65534), above=True) is None
    assert "belongs" in trust.problem(info(0o755, 65534))


@posix
def test_directories_above_count_up_to_the_home_directory(tmp_path, monkeypatch):
    home = tmp_path / "open" / "home"
    (home / "a").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    assert str(tmp_path / "open") in trust.path_problem(home / "a")
    assert str(tmp_path / "open") in trust.path_problem(home / "a" / "missing" / "deeper")
    monkeypatch.setenv("HOME", str(home))
    assert trust.path_problem(home / "a") is None
    (home / "a").chmod(0o777)
    assert str(home / "a") in trust.path_problem(home / "a")
    assert str(home / "a") in trust.path_problem(home / "a" / "missing")
    (tmp_path / "link").symlink_to(home / "a")
    assert str(home / "a") in trust.path_problem(tmp_path / "link" / "b")


@posix
@pytest.mark.parametrize("which", ["directory", "above"])
def test_a_directory_that_others_can_change_is_not_used(tmp_path, monkeypatch, which):
    place = tmp_path / "kernels"
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(place))
    monkeypatch.setattr(cache, "_temp_dir", lambda: str(tmp_path / "mine"))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_places", {})
        compiled(define())
    (file,) = files(place)
    (file.parent if which == "directory" else place).chmod(0o777)
    monkeypatch.setattr(cache, "_places", {})
    before = cache._counts["hits"]
    wrong = file.parent if which == "directory" else place
    with pytest.warns(RuntimeWarning, match=f"{wrong} can be written by other users .mode 0777.*yours alone") as caught:
        assert compiled(define())(2, 3) == 23
        assert compiled(define())(2, 3) == 23
    assert len(caught) == 1
    assert cache._counts["hits"] == before + 1 and len(files(tmp_path / "mine")) == 1
    assert files(place) == [file]


@posix
def test_an_entry_that_others_can_change_is_not_used(place, monkeypatch):
    monkeypatch.setattr(cache, "_refused", set())
    compiled(define())
    compiled(define("a - b"))
    for file in files(place):
        file.chmod(0o666)
    with pytest.warns(RuntimeWarning, match="others can change: .*mode 0666.*Remove such files") as caught:
        assert compiled(define())(2, 3) == 23 and compiled(define("a - b"))(2, 3) == -1
    assert len(caught) == 1 and counts() == (0, 4)
    # They were replaced by files of our own.
    assert compiled(define())(2, 3) == 23 and counts() == (1, 4)
    assert all(not f.stat().st_mode & 0o022 for f in files(place))


@posix
def test_links_and_pipes_are_no_entries(place, tmp_path):
    compiled(define())
    (file,) = files(place)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert compiled(define())(2, 3) == 23 and not file.is_symlink()
    file.unlink()
    os.mkfifo(file)
    assert compiled(define())(2, 3) == 23
    file.unlink(missing_ok=True)
    file.mkdir()
    assert compiled(define())(2, 3) == 23


@posix
def test_what_is_made_is_closed_to_others_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "a" / "b"))
    umask = os.umask(0)
    try:
        compiled(define())
    finally:
        os.umask(umask)
    made = [p for p in tmp_path.rglob("*")]
    assert len(made) == 4 and not [p for p in made if p.stat().st_mode & 0o022]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user_are_not_loaded(place, monkeypatch):
    monkeypatch.setattr(cache, "_refused", set())
    compiled(define())
    (file,) = files(place)
    os.chown(file, 1234, 1234)
    with pytest.warns(RuntimeWarning, match=f"{file} belongs to user 1234, this is user 0"):
        assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2) and file.stat().st_uid == 0
    os.chown(place, 1234, 1234)
    monkeypatch.setattr(cache, "_places", {})
    monkeypatch.setattr(cache, "_temp_dir", lambda: str(place / "below"))
    with pytest.warns(RuntimeWarning, match=f"{place} belongs to user 1234, this is user 0.*compiled again in every"):
        assert compiled(define())(2, 3) == 23
    assert counts() == (0, 3)


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
    folder = tmp_path / cache._versions()
    folder.mkdir()
    # A directory that the user named holds other things, which are none of ours.
    (tmp_path / "work").mkdir()
    others = [tmp_path / "work" / "old.tmp", tmp_path / "work" / ("old" + cache.SUFFIX), folder / "old.tmp"]
    for other in others:
        other.write_bytes(b"x" * 1000)
        os.utime(other, (1e8, 1e8))
    for age in range(8):
        file = folder / f"{age}{cache.SUFFIX}"
        file.write_bytes(b"x" * 100)
        os.utime(file, (1e9 - age, 1e9 - age))
    dead, live = folder / "dead-1-abc-0.tmp", folder / "live-1-abc-1.tmp"
    dead.write_bytes(b"x")
    os.utime(dead, (1e9, 1e9))
    live.write_bytes(b"x")
    cache._sweep(str(folder), 800)
    assert len(list(folder.glob("*" + cache.SUFFIX))) == 8
    assert live.exists() and not dead.exists() and all(other.exists() for other in others)
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
