"""``torch.utils.model_zoo``: the older name of ``hub.load_state_dict_from_url``."""

import contextlib

from ..hub import load_state_dict_from_url as load_url  # noqa: F401

with contextlib.suppress(ImportError):
    from tqdm import tqdm  # noqa: F401 (which packages take from here)
