"""Settings of ``save`` and ``load``, and small functions beside them."""

from __future__ import annotations

import contextlib
import enum
import re
import shutil
import sys
import tempfile
import warnings


class SourceChangeWarning(Warning):
    """The source of a saved module's class is another than when it was saved."""


class LoadEndianness(enum.Enum):
    """The order of bytes of files that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_settings = {"endianness": None, "crc32": True}


def get_default_load_endianness():
    """The order of bytes of files that do not say theirs; None: the lowest first."""
    return _settings["endianness"]


def set_default_load_endianness(endianness):
    """Set the order of bytes of files that do not say theirs."""
    if not isinstance(endianness, LoadEndianness) and endianness is not None:
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _settings["endianness"] = endianness


def assumed_order():
    """The order of bytes of a file that does not say its own, as it would."""
    return {LoadEndianness.BIG: b"big", LoadEndianness.NATIVE: sys.byteorder.encode()}.get(_settings["endianness"], b"little")


def get_crc32_options():
    """Whether sums over records were asked for; files have them in any case."""
    return _settings["crc32"]


def set_crc32_options(compute_crc32):
    """Accepted: files have sums over records in any case."""
    _settings["crc32"] = compute_crc32


@contextlib.contextmanager
def mkdtemp():
    """A directory that is removed at the end."""
    path = tempfile.mkdtemp()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def check_module_version_greater_or_equal(module, req_version_tuple, error_if_malformed=True):
    """Whether a module's version is not older than a tuple."""
    try:
        parts = module.__version__.split(".")
        return tuple(type(wanted)(parts[i]) for i, wanted in enumerate(req_version_tuple)) >= req_version_tuple
    except Exception as e:
        text = (f"'{module.__name__}' module version string is malformed '{module.__version__}' and cannot be compared with "
                f"tuple {req_version_tuple!s}")
        if error_if_malformed:
            raise RuntimeError(text) from e
        warnings.warn(text + ", but continuing assuming that requirement is met", stacklevel=2)
        return True


def location_tag(storage):
    """What files say of where a storage was."""
    return str(storage.device)


def normalize_storage_type(storage_type):
    """The class of that name at top level."""
    import numbagrad
    return getattr(numbagrad, storage_type.__name__)


def validate_cuda_device(location):
    """The number of a CUDA device, which must be there."""
    import numbagrad
    found = re.fullmatch(r"cuda(?::(\d+))?", location)
    if not found:
        raise ValueError(f"Expected a cuda device, but got: {location}")
    if not numbagrad.cuda.is_available():
        raise RuntimeError("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you "
                           "are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to "
                           "map your storages to the CPU.")
    return int(found[1] or 0)
