"""Directories of the disk cache that cannot be used, and who else may write to what is loaded."""

import os
import warnings
from types import SimpleNamespace

import pytest
from cache_helpers import compiled, counts, define, files

from numbagrad.kernel import cache, cache_files, cache_folders, trust


def test_damaged_file_in_a_read_only_directory(place, monkeypatch):
    compiled(define())
    (file,) = files(place)
    file.write_bytes(b"damaged")

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache_files, "create", refuse)
    monkeypatch.setattr(cache_files.os, "unlink", refuse)
    assert compiled(define())(2, 3) == 23
    assert file.read_bytes() == b"damaged"


def test_unwritable_directory_falls_back_with_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBAGRAD_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(cache_folders, "_places", {})
    monkeypatch.setattr(cache_folders, "_temp_dir", lambda: str(tmp_path / "mine"))
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
    monkeypatch.setattr(cache_folders, "_places", {})
    monkeypatch.setattr(cache_folders, "_temp_dir", lambda: str(tmp_path / "file" / "too"))
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
    monkeypatch.setattr(cache_folders, "_temp_dir", lambda: str(tmp_path / "mine"))
    with monkeypatch.context() as patch:
        patch.setattr(cache_folders, "_places", {})
        compiled(define())
    (file,) = files(place)
    (file.parent if which == "directory" else place).chmod(0o777)
    monkeypatch.setattr(cache_folders, "_places", {})
    before = cache_files.COUNTS["hits"]
    wrong = file.parent if which == "directory" else place
    with pytest.warns(RuntimeWarning, match=f"{wrong} can be written by other users .mode 0777.*yours alone") as caught:
        assert compiled(define())(2, 3) == 23
        assert compiled(define())(2, 3) == 23
    assert len(caught) == 1
    assert cache_files.COUNTS["hits"] == before + 1 and len(files(tmp_path / "mine")) == 1
    assert files(place) == [file]


@posix
def test_an_entry_that_others_can_change_is_not_used(place, monkeypatch):
    monkeypatch.setattr(cache_files, "_refused", set())
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
    monkeypatch.setattr(cache_files, "_refused", set())
    compiled(define())
    (file,) = files(place)
    os.chown(file, 1234, 1234)
    with pytest.warns(RuntimeWarning, match=f"{file} belongs to user 1234, this is user 0"):
        assert compiled(define())(2, 3) == 23
    assert counts() == (0, 2) and file.stat().st_uid == 0
    os.chown(place, 1234, 1234)
    monkeypatch.setattr(cache_folders, "_places", {})
    monkeypatch.setattr(cache_folders, "_temp_dir", lambda: str(place / "below"))
    with pytest.warns(RuntimeWarning, match=f"{place} belongs to user 1234, this is user 0.*compiled again in every"):
        assert compiled(define())(2, 3) == 23
    assert counts() == (0, 3)
