"""``torch.hub``: refused, as it runs code from the network."""

from __future__ import annotations

import os


def _refuse(name):
    raise RuntimeError(f"torch.hub.{name}: numbagrad downloads nothing; clone the repository, import its model and load its "
                       "weights with torch.load")


def load(repo_or_dir, model, *args, source="github", trust_repo="check", force_reload=False, verbose=True,
         skip_validation=False, **kwargs):
    """Refused: nothing is downloaded."""
    _refuse("load")


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
    """Refused: nothing is downloaded."""
    _refuse("load_state_dict_from_url")


_folder = [None]


def get_dir():
    """Where PyTorch keeps what it downloads: ``$TORCH_HOME/hub``."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return _folder[0] or os.path.join(os.path.expanduser(home), "hub")


def set_dir(d):
    """Let ``get_dir`` say ``d``."""
    _folder[0] = os.path.expanduser(d)
