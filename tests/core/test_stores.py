"""Stores of ``torch.distributed``: texts that threads and processes share, as PyTorch's."""

from __future__ import annotations

import datetime
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from numbagrad import distributed as ours

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
CALLS = {
    "get": lambda s: (s.set("a", "1"), s.get("a")), "bytes": lambda s: (s.set("b", b"\x00\xff"), s.get("b")),
    "add": lambda s: (s.add("n", 3), s.add("n", -1), s.get("n")), "check": lambda s: (s.check(["n"]), s.check(["n", "q"])),
    "replaced": lambda s: (s.compare_set("a", "1", "2"), s.compare_set("a", "1", "3"), s.get("a")),
    "replaced none": lambda s: (s.compare_set("c", "", "3"), s.compare_set("d", "x", "3"), s.check(["d"])),
    "number of keys": lambda s: s.num_keys(), "deleted": lambda s: (s.delete_key("a"), s.delete_key("a")),
    "appended": lambda s: (s.append("k", "x"), s.append("k", "y"), s.get("k")), "timeout": lambda s: s.timeout,
    "several": lambda s: (s.multi_set(["p", "q"], ["1", "2"]), s.multi_get(["p", "q"])), "there": lambda s: s.wait(["p"]),
    "nobody": lambda s: s.get("z"), "nobody yet": lambda s: s.wait(["z", "p"], datetime.timedelta(milliseconds=20)),
    "queue": lambda s: (s.queue_push("r", "1"), s.queue_push("r", "2"), s.queue_len("r"), s.queue_pop("r"), s.queue_pop("r")),
    "empty queue": lambda s: s.queue_pop("r", False), "keys": lambda s: sorted(s.list_keys())}


def said(store, prefixed=False):
    store.set_timeout(datetime.timedelta(milliseconds=100))
    found = []
    for name, call in CALLS.items():
        if prefixed and name == "keys":
            continue  # which PyTorch has not for these
        try:
            found.append((name, call(store)))
        except RuntimeError as e:
            found.append((name, type(e).__name__, type(e).__mro__[1].__name__, str(e).splitlines()[0]))
    return found


def stores(d):
    yield d.HashStore(), False
    yield d.TCPStore("127.0.0.1", 0, 1, True), False
    yield d.PrefixStore("pre", d.HashStore()), True


def test_as_in_pytorch():
    for (store, prefixed), (other, _) in zip(stores(ours), stores(torch.distributed), strict=True):
        for found, wanted in zip(said(store, prefixed), said(other, prefixed), strict=True):
            assert found == wanted
        assert isinstance(store, ours.Store) and store.has_extended_api()


def test_who_waits_gets_what_another_thread_sets():
    for store in (ours.HashStore(), ours.TCPStore("127.0.0.1", 0, is_master=True)):
        other, found = store.clone(), []
        thread = threading.Thread(target=lambda: found.append(other.get("later")))  # noqa: B023 - joined below
        thread.start()
        time.sleep(0.05)
        assert not found
        store.set("later", "yes")
        thread.join(10)
        assert found == [b"yes"]


def test_between_processes():
    store = ours.TCPStore("127.0.0.1", 0, world_size=None, is_master=True)
    program = f"""
        from numbagrad.distributed import TCPStore
        store = TCPStore("127.0.0.1", {store.port})
        store.set("answer", store.get("question") + b"!")
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    store.set("question", "what")
    assert store.get("answer") == b"what!" and child.wait(60) == 0


def test_errors():
    store = ours.TCPStore("127.0.0.1", 0, is_master=True)
    with pytest.raises(ours.DistNetworkError, match="EADDRINUSE, message: address already in use"):
        ours.TCPStore("127.0.0.1", store.port, is_master=True)
    with pytest.raises(ours.DistStoreError, match="1/2 clients joined"):
        ours.TCPStore("127.0.0.1", 0, 2, True, timeout=datetime.timedelta(milliseconds=1))
    store.set("k", "text")
    with pytest.raises(ValueError, match="stoll"):
        ours.HashStore().clone().compare_set("k", "", "text") and store.add("k", 1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        store.set("c", 3)
    port = store.port
    del store
    with pytest.raises(ours.DistNetworkError, match="timed out after 50ms"):
        ours.TCPStore("127.0.0.1", port, timeout=datetime.timedelta(milliseconds=50))


def test_what_is_no_message_ends_its_connection_and_nothing_else(monkeypatch):
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    store = ours.TCPStore("127.0.0.1", 0, is_master=True)
    for parts in ((), (b"get",), (b"set", b"soon", b"a", b"b"), (b"add", b"1", b"a"), (b"\xff", b"1"), (b"do", b"1")):
        with socket.create_connection(("127.0.0.1", store.port), 5) as connection:
            connection.sendall(struct.pack("<BI", 0, len(parts)) + b"".join(struct.pack("<I", len(p)) + p for p in parts))
            assert connection.recv(1) in (b"", b"\x02")  # closed, or an error of its own
    store.set("k", "text")
    assert store.get("k") == b"text" and not failed
