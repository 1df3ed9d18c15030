"""``torch.utils.data._utils``: where packages look for how samples become batches, and what workers know."""

import sys

from . import _worker as worker
from . import collate

__all__ = ["collate", "worker"]
__path__: list = []  # what lies below is in sys.modules
sys.modules[__name__ + ".collate"], sys.modules[__name__ + ".worker"] = collate, worker
