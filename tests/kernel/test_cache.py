"""The disk cache: what is found again, what is not, and what happens to damaged files."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from cache_helpers import SIGNATURE, compiled, counts, define, files, run

from numbagrad.kernel import cache, cache_files, cache_folders, entry


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
    file.write_bytes(cache.MAGIC + cache_files._checksum(file.name, payload) + payload)


def test_sound_file_with_unusable_content_is_compiled_again(place):
    compiled(define())
    (file,) = files(place)
    good = file.read_bytes()[cache_files._HEADER :]
    header = slice(24, 24 + int.from_bytes(good[:8], "little"))
    contents = [b"", b"no compile result", b"\xff" * 200, good[:100], good[: len(good) // 2], good[:8] + b"\xff" * 100]
    for old, new in ((b"cache_helpers", b"x" * 13), (b'"int64"', b'"int65"'), (b'"qualname"', b'"__doc__" '),
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
    symbols, starters, parts = entry.load(memoryview(file.read_bytes())[cache_files._HEADER :])
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
    first = entry.load(memoryview(data)[cache_files._HEADER :])
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
    folder = tmp_path / cache_folders.versions()
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
    cache_files._sweep(str(folder), 800)
    assert len(list(folder.glob("*" + cache.SUFFIX))) == 8
    assert live.exists() and not dead.exists() and all(other.exists() for other in others)
    cache_files._sweep(str(folder), 799)
    assert sorted(f.name for f in folder.glob("*" + cache.SUFFIX)) == [f"{i}{cache.SUFFIX}" for i in range(5)]


def test_a_hit_marks_the_file_as_used(place):
    compiled(define())
    (file,) = files(place)
    os.utime(file, (1e9, 1e9))
    compiled(define())
    assert file.stat().st_mtime > 1e9 + 1
