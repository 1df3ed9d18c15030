"""Stores: tables of texts that threads (``HashStore``) or processes (``TCPStore``) share, and wait on."""

from __future__ import annotations

import datetime
import errno
import socket
import struct
import threading
import time

__all__ = ["DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "HashStore", "PrefixStore", "QueueEmptyError",
           "Store", "TCPStore"]
MOST = 1 << 30  # bytes of one text that is read from a connection


class DistError(RuntimeError):
    """What goes wrong between processes."""


class DistBackendError(DistError):
    """An error of a backend."""


class DistNetworkError(DistError):
    """An error of a connection."""


class DistStoreError(DistError):
    """An error of a store, a key that nobody sets in time."""


class QueueEmptyError(DistStoreError):
    """Nothing is in a queue."""


class Table:
    """The texts, with one lock; a function of it takes and returns lists of bytes."""

    def __init__(self):
        self.values, self.queues, self.changed = {}, {}, threading.Condition()

    def perform(self, name, args, timeout):
        """Call the function of that name; TimeoutError if what it waits for does not come."""
        with self.changed:
            found = getattr(self, "do_" + name)(args, timeout)
            self.changed.notify_all()
        return found

    def until(self, there, timeout):
        if not self.changed.wait_for(there, timeout):
            raise TimeoutError

    def do_set(self, args, timeout):
        self.values.update(zip(args[::2], args[1::2]))
        return []

    def do_get(self, args, timeout):
        self.do_wait(args, timeout)
        return [self.values[key] for key in args]

    def do_wait(self, args, timeout):
        self.until(lambda: all(key in self.values for key in args), timeout)
        return []

    def do_add(self, args, timeout):
        before = self.values.get(args[0], b"0")
        if not before.lstrip(b"-").isdigit():
            raise ValueError("stoll")
        self.values[args[0]] = str(int(before) + int(args[1])).encode()
        return [self.values[args[0]]]

    def do_append(self, args, timeout):
        self.values[args[0]] = self.values.get(args[0], b"") + args[1]
        return []

    def do_compare_set(self, args, timeout):
        key, expected, desired = args
        if self.values.get(key, b"") == expected:
            self.values[key] = desired
        return [self.values.get(key, expected)]

    def do_check(self, args, timeout):
        return [b"1"] if all(key in self.values for key in args) else []

    def do_delete(self, args, timeout):
        return [] if self.values.pop(args[0], None) is None else [b"1"]

    def do_keys(self, args, timeout):
        return list(self.values)

    def do_push(self, args, timeout):
        self.queues.setdefault(args[0], []).append(args[1])
        return []

    def do_pop(self, args, timeout):
        waiting = self.queues.setdefault(args[0], [])
        if args[1] == b"1":
            self.until(lambda: waiting, timeout)
        return [waiting.pop(0)] if waiting else []

    def do_len(self, args, timeout):
        return [str(len(self.queues.get(args[0], ()))).encode()]


def _bytes(function, values):
    """Texts as bytes."""
    if not all(isinstance(v, (str, bytes)) for v in values):
        raise TypeError(f"{function}(): incompatible function arguments. The following argument types are supported:\n"
                        "    texts and bytes")
    return [v.encode() if isinstance(v, str) else v for v in values]


class Store:
    """A table of texts; ``get`` and ``wait`` wait for keys until ``timeout``."""

    def __init__(self):
        self._timeout = datetime.timedelta(seconds=300)

    def _ask(self, function, values, timeout=None, name=None):
        timeout = self._timeout if timeout is None else timeout
        args = _bytes(function, values)
        try:
            return self._perform(name or function, args, timeout.total_seconds())
        except TimeoutError:
            raise DistStoreError(self._late(args, timeout)) from None

    def _perform(self, name, args, timeout):
        raise NotImplementedError("Not implemented.")

    def _late(self, keys, timeout):
        return "Wait timeout"

    @property
    def timeout(self):
        """How long ``get`` and ``wait`` wait."""
        return self._timeout

    def set_timeout(self, timeout):
        """Wait so long from now on."""
        self._timeout = timeout

    def set(self, key, value):
        """Put a text under a key."""
        self._ask("set", (key, value))

    def get(self, key):
        """The bytes under a key, when they are there."""
        return self._ask("get", (key,))[0]

    def wait(self, keys, timeout=None):
        """Wait until all keys are there."""
        self._ask("wait", keys, timeout)

    def add(self, key, amount):
        """Add to the number under a key (0 at first); returns the sum."""
        return int(self._ask("add", (key, str(int(amount))))[0])

    def append(self, key, value):
        """Put a text behind what is there."""
        self._ask("append", (key, value))

    def compare_set(self, key, expected_value, desired_value):
        """Put ``desired_value`` in the place of ``expected_value``; returns what is there then."""
        return self._ask("compare_set", (key, expected_value, desired_value))[0]

    def check(self, keys):
        """Whether all keys are there."""
        return bool(self._ask("check", keys))

    def delete_key(self, key):
        """Take a key away; returns whether it was there."""
        return bool(self._ask("delete_key", (key,), name="delete"))

    def num_keys(self):
        """How many keys there are."""
        return len(self._ask("keys", ()))

    def list_keys(self):
        """All keys."""
        return [key.decode() for key in self._ask("keys", ())]

    def multi_get(self, keys):
        """What is under several keys."""
        return self._ask("multi_get", keys, name="get")

    def multi_set(self, keys, values):
        """Put texts under several keys."""
        self._ask("multi_set", [v for pair in zip(keys, values, strict=True) for v in pair], name="set")

    def queue_push(self, key, value):
        """Put a text at the end of a queue."""
        self._ask("queue_push", (key, value), name="push")

    def queue_pop(self, key, block=True):
        """The first text of a queue, which leaves it."""
        found = self._ask("queue_pop", (key, str(int(block))), name="pop")
        if not found:
            raise QueueEmptyError("queue is empty")
        return found[0]

    def queue_len(self, key):
        """How many texts are in a queue."""
        return int(self._ask("queue_len", (key,), name="len")[0])

    def has_extended_api(self):
        """Whether there are ``append``, ``multi_get`` and ``multi_set``."""
        return True


class HashStore(Store):
    """A table for the threads of a process."""

    def __init__(self):
        super().__init__()
        self._table = Table()

    def _perform(self, name, args, timeout):
        return self._table.perform(name, args, timeout)

    def clone(self):
        """Another store on the same table."""
        other = HashStore()
        other._table, other._timeout = self._table, self._timeout
        return other


class PrefixStore(Store):
    """A part of a store: keys that begin with ``prefix/``."""

    def __init__(self, prefix, store):
        self._prefix, self._store = prefix, store

    underlying_store = property(lambda self: self._store)
    timeout = property(lambda self: self._store.timeout)

    def set_timeout(self, timeout):
        """Wait so long from now on."""
        self._store.set_timeout(timeout)

    def _ask(self, function, values, timeout=None, name=None):
        values = list(values)
        step = {"multi_set": 2, "check": 1, "wait": 1, "multi_get": 1}.get(function, len(values) or 1)
        values[::step] = [f"{self._prefix}/{v}" for v in values[::step]]
        return self._store._ask(function, values, timeout, name)


def _send(connection, head, parts):
    text = b"".join([struct.pack("<I", len(p)) + p for p in parts])
    connection.sendall(struct.pack("<BI", head, len(parts)) + text)


def _exactly(connection, n):
    found = bytearray()
    while len(found) < n:
        more = connection.recv(n - len(found))
        if not more:
            raise DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server "
                                   "shutdown or crash?")
        found += more
    return bytes(found)


def _receive(connection):
    head, count = struct.unpack("<BI", _exactly(connection, 5))
    parts = []
    for _ in range(count):
        size, = struct.unpack("<I", _exactly(connection, 4))
        if size > MOST:
            raise DistNetworkError(f"a text of {size} bytes")
        parts.append(_exactly(connection, size))
    return head, parts


class _Server:
    """The table of a ``TCPStore``, with a thread for each connection."""

    def __init__(self, port):
        self.table, self.socket = Table(), socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(("", port))
        except OSError as e:
            self.socket.close()
            raise DistNetworkError(
                f"The server socket has failed to listen on any local network address. port: {port}, useIpv6: false, code: "
                f"-{e.errno}, name: {errno.errorcode.get(e.errno)}, message: {(e.strerror or '').lower()}") from e
        self.socket.listen()
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # ends the call of accept that waits
        except OSError:
            pass
        self.socket.close()

    def serve(self, connection):
        names = [n[3:] for n in dir(Table) if n.startswith("do_")]
        with connection:
            while True:
                try:
                    _, (name, timeout, *args) = _receive(connection)
                    if name.decode() not in names:
                        return
                    try:
                        _send(connection, 0, self.table.perform(name.decode(), args, float(timeout)))
                    except TimeoutError:
                        _send(connection, 1, [])
                    except ValueError as e:
                        _send(connection, 2, [str(e).encode()])
                except (OSError, DistNetworkError, ValueError, IndexError):
                    return  # the connection ended, or what came is no message of a store


class TCPStore(Store):
    """A table in the process that is master, for all that connect to it."""

    _server = _connection = None

    def __init__(self, host_name, port, world_size=None, is_master=False, timeout=datetime.timedelta(seconds=300),
                 wait_for_workers=True, multi_tenant=False, master_listen_fd=None, use_libuv=True):
        self._timeout, self._lock, self.host, self.port = timeout, threading.Lock(), host_name, port
        if is_master:
            self._server = _Server(port)
            self.port = self._server.port
        self._connection = self._connect()
        joined = self.add("init/", 1)
        begun = time.monotonic()
        while is_master and wait_for_workers and world_size is not None and joined < world_size:
            waited = int(time.monotonic() - begun)
            if waited > timeout.total_seconds():
                raise DistStoreError(f"Timed out after {waited} seconds waiting for clients. {joined}/{world_size} clients "
                                     "joined.")
            time.sleep(0.01)
            joined = int(self.get("init/"))

    def _connect(self):
        end = time.monotonic() + self._timeout.total_seconds()
        while True:
            try:
                connection = socket.create_connection((self.host, self.port), 5)
            except OSError:
                if time.monotonic() > end:
                    late = int(self._timeout.total_seconds() * 1000)
                    raise DistNetworkError(f"The client socket has timed out after {late}ms while trying to connect to "
                                           f"({self.host}, {self.port}).") from None
                time.sleep(0.02)
            else:
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection

    def _perform(self, name, args, timeout):
        with self._lock:
            try:
                _send(self._connection, 0, [name.encode(), str(timeout).encode(), *args])
                status, found = _receive(self._connection)
            except OSError as e:
                raise DistNetworkError(e.strerror or str(e)) from e
        if status == 1:
            raise TimeoutError
        if status == 2:
            raise ValueError(found[0].decode())
        return found

    def _late(self, keys, timeout):
        names = ", ".join(["/" + key.decode() for key in keys])
        return f"wait timeout after {int(timeout.total_seconds() * 1000)}ms, keys: {names}"

    def list_keys(self):
        """All keys but the one that counts who is connected."""
        return [key for key in super().list_keys() if key != "init/"]

    def clone(self):
        """Another connection to the same table."""
        return TCPStore(self.host, self.port, timeout=self._timeout)

    def __del__(self):
        if self._connection is not None:
            self._connection.close()
        if self._server is not None:
            self._server.close()


for _name in __all__:
    globals()[_name].__module__ = "numbagrad.distributed"
