"""``torch.hub`` without the network: folders of this machine, and files that were downloaded before."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import urllib.parse
from urllib.parse import urlparse  # noqa: F401 (which packages take from here)

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # in the name of a file: the beginning of its SHA256
MODULE_HUBCONF, VAR_DEPENDENCY = "hubconf.py", "dependencies"


def _refuse(name):
    raise RuntimeError(f"torch.hub.{name}: numbagrad downloads nothing; clone the repository, import its model and load its "
                       "weights with torch.load")


def load(repo_or_dir, model, *args, source="github", trust_repo="check", force_reload=False, verbose=True,
         skip_validation=False, **kwargs):
    """What a function of the hubconf.py of a folder gives (``source="local"``); repositories are not downloaded."""
    source = source.lower()
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        _refuse("load")
    with _importing_from(repo_or_dir):
        return _entry(_module(os.path.join(repo_or_dir, MODULE_HUBCONF)), model)(*args, **kwargs)


@contextlib.contextmanager
def _importing_from(folder):
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module(path):
    spec = importlib.util.spec_from_file_location(MODULE_HUBCONF, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _entry(module, name):
    """The function of that name, after a look whether the packages are there that the module names."""
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    missing = [p for p in getattr(module, VAR_DEPENDENCY, None) or () if importlib.util.find_spec(p) is None]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found


def list(github, force_reload=False, skip_validation=False, trust_repo="check", verbose=True):  # noqa: A001 (PyTorch's name)
    """Refused: nothing is downloaded."""
    _refuse("list")


def help(github, model, force_reload=False, skip_validation=False, trust_repo="check"):  # noqa: A001 (PyTorch's name)
    """Refused: nothing is downloaded."""
    _refuse("help")


def download_url_to_file(url, dst, hash_prefix=None, progress=True):
    """Refused: nothing is downloaded."""
    _refuse("download_url_to_file")


def load_state_dict_from_url(url, model_dir=None, map_location=None, progress=True, check_hash=False, file_name=None,
                             weights_only=False):
    """The file of that name among those downloaded before; RuntimeError, which says where it is looked for, without one."""
    model_dir = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    path = os.path.join(model_dir, file_name or os.path.basename(urllib.parse.urlparse(url).path))
    if not os.path.exists(path):
        raise RuntimeError(f"torch.hub.load_state_dict_from_url: numbagrad downloads nothing; put the file of {url} at {path}")
    from .serialization import load as load_file
    return load_file(path, map_location=map_location, weights_only=weights_only)


_folder = [None]


def _get_torch_home():
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return os.path.expanduser(home)


def get_dir():
    """Where PyTorch keeps what it downloads: ``$TORCH_HOME/hub``."""
    return _folder[0] or os.path.join(_get_torch_home(), "hub")


def set_dir(d):
    """Let ``get_dir`` say ``d``."""
    _folder[0] = os.path.expanduser(d)
