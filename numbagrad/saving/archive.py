"""Files of a checkpoint: an uncompressed zip archive, written in one step and read with every check."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import zipfile
import zlib

import numpy as np

from .leftovers import remove_leftovers, temporary_name

__all__ = ["Archive", "ZIP_MAGIC", "replacing", "write_archive"]

ZIP_MAGIC = b"PK\x03\x04"
_ALIGNMENT = 64
_CHUNK = 1 << 22
# Without the name.
_LOCAL_HEADER = 30
# Files of `save` and of PyTorch are not compressed at all; one packed by hand may be, but a few bytes must not fill memory.
_UNPACKED, _UNPACKED_RATIO = 1 << 26, 20


class _Sink:
    """Counts what is written, so that offsets in the archive start at 0 wherever the file object stands."""

    def __init__(self, file):
        self._write, self._count = file.write, 0

    def write(self, data):
        data = memoryview(data).cast("B")
        done = 0
        while done < data.nbytes:
            # Only an unbuffered file writes less than it is given.
            count = self._write(data[done:] if done else data)
            done += data.nbytes - done if count is None else count
        self._count += done
        return done

    def tell(self):
        return self._count

    def flush(self):
        pass


def write_archive(file, records):
    """Write (name, bytes-like) records into a zip archive whose data start at multiples of 64."""
    sink = _Sink(file)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records:
            # A fixed date: equal objects give equal files.
            info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.file_size = memoryview(data).nbytes
            zip64 = info.file_size * 1.05 > zipfile.ZIP64_LIMIT
            header = 30 + len(info.filename) + 20 * zip64 + 4
            padding = -(sink.tell() + header) % _ALIGNMENT
            info.extra = struct.pack("<HH", 0x4246, padding) + bytes(padding)
            with archive.open(info, "w", force_zip64=zip64) as out:
                out.write(data)


@contextlib.contextmanager
def replacing(path):
    """A new file that takes the place of `path` when the block ends well; until then nothing has changed."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(path))} does not exist.")
    mode = os.stat(target).st_mode if os.path.exists(target) else None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if mode is not None and not stat.S_ISREG(mode):
        # A pipe or a device is written to, not replaced.
        with open(target, "wb") as file:
            yield file
        return
    remove_leftovers(folder)
    temporary = os.path.join(folder, temporary_name())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):
        # The new name itself becomes durable with the folder; not every system can do that.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Archive:
    """The records of a checkpoint; every way in which they can be broken is a RuntimeError that names the file."""

    def __init__(self, file, name, mapped=None):
        self.name, self._file, self._mapped = name, file, mapped
        with self._errors("reading zip archive"):
            self._zip = zipfile.ZipFile(file)
            self._check_records()
        names = self._zip.namelist()
        if not names or "/" not in names[0]:
            raise RuntimeError(f"{name}: file in archive is not in a subdirectory: {names[:1]}")
        self._root = names[0].split("/")[0]
        if self.has("constants.pkl"):
            raise RuntimeError(f"{name}: this is a TorchScript archive, which holds a program; load cannot read it")

    @contextlib.contextmanager
    def _errors(self, doing):
        try:
            yield
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OverflowError, zlib.error, struct.error,
                ValueError) as error:
            raise RuntimeError(
                f"{self.name}: PytorchStreamReader failed {doing}: {str(error)[:300]}. The file is truncated or corrupt."
            ) from error

    def _check_records(self):
        """ValueError when the directory promises what the file cannot hold: nothing is allocated on its word alone."""
        end, names, unpacked = self._zip.start_dir, set(), 0
        # Each record ends before the next one starts, the last one before the directory.
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset, reverse=True):
            what = f"record {info.filename[:100]!r}"
            if info.filename in names:
                raise ValueError(f"{what} is there twice")
            names.add(info.filename)
            if info.flag_bits & 1:
                raise ValueError(f"{what} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{what} is compressed by method {info.compress_type}, neither stored nor deflated")
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise ValueError(f"{what} has two sizes, {info.compress_size} and {info.file_size}")
            if info.header_offset < 0 or info.header_offset + _LOCAL_HEADER + info.compress_size > end:
                raise ValueError(f"{what} of {info.compress_size} bytes at {info.header_offset} ends behind {end}")
            end = info.header_offset
            unpacked += info.file_size
        if unpacked > _UNPACKED + _UNPACKED_RATIO * self._zip.start_dir:
            raise ValueError(f"its records would unpack to {unpacked} bytes, more than {_UNPACKED_RATIO} times the file")

    def has(self, record):
        return f"{self._root}/{record}" in self._zip.NameToInfo

    def names(self):
        """The records' names."""
        return [name[len(self._root) + 1:] for name in self._zip.namelist()]

    def size(self, record):
        """How many bytes a record has."""
        return self._info(record).file_size

    def _info(self, record):
        if not self.has(record):
            raise RuntimeError(f"{self.name}: PytorchStreamReader failed locating file {record}: file not found")
        return self._zip.getinfo(f"{self._root}/{record}")

    def read(self, record):
        info = self._info(record)
        with self._errors(f"reading file {record}"):
            return self._zip.read(info)

    def array(self, record, nbytes):
        """The record as bytes in writable memory of its own (or, if the file is mapped, of the mapping)."""
        info = self._info(record)
        if info.file_size != nbytes:
            raise RuntimeError(f"{self.name}: {record} should have {nbytes} bytes, it has {info.file_size}. "
                               "The file is corrupt.")
        with self._errors(f"reading file {record}"):
            if self._mapped is not None and info.compress_type == zipfile.ZIP_STORED:
                # Name and extra field of the local header may differ from the directory's.
                name, extra = struct.unpack_from("<HH", self._mapped, info.header_offset + 26)
                start = info.header_offset + 30 + name + extra
                if start + nbytes <= self._mapped.size:
                    return self._mapped[start : start + nbytes]
            result = np.empty(nbytes, np.uint8)
            done = 0
            with self._zip.open(info) as source:
                while done < nbytes:
                    count = source.readinto(memoryview(result)[done : done + _CHUNK])
                    if not count:
                        raise EOFError("the data ends early")
                    done += count
            return result
