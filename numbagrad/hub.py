"""``torch.hub``: refused, as it runs code from the network."""

from __future__ import annotations

import os


def _refuse(name):
    def refused(*args, **kwargs):
        raise RuntimeError(f"torch.hub.{name}: numbagrad downloads nothing; clone the repository, import its model and load "
                           "its weights with torch.load")
    refused.__name__ = refused.__qualname__ = name
    refused.__doc__ = "Refused: nothing is downloaded."
    return refused


load, list, help, download_url_to_file, load_state_dict_from_url = map(_refuse, (  # noqa: A001 (PyTorch's names)
    "load", "list", "help", "download_url_to_file", "load_state_dict_from_url"))
_folder = [None]


def get_dir():
    """Where PyTorch keeps what it downloads: ``$TORCH_HOME/hub``."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return _folder[0] or os.path.join(os.path.expanduser(home), "hub")


def set_dir(d):
    """Let ``get_dir`` say ``d``."""
    _folder[0] = os.path.expanduser(d)
