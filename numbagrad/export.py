"""``torch.export``: names that packages mention; nothing is exported, a step is compiled where it runs."""

__all__ = ["Dim", "ExportedProgram", "export", "load", "save"]


class ExportedProgram:
    """The class that annotations and ``isinstance`` name; no object is one."""


def export(mod, args, kwargs=None, *, dynamic_shapes=None, strict=False, preserve_module_call_signature=(),
           prefer_deferred_runtime_asserts_over_guards=False):
    """Refused: there is no graph of nodes."""
    raise RuntimeError("torch.export.export: numbagrad has no graph of nodes to export; torch.compile compiles a step where it "
                       "runs, and torch.save keeps its weights")


def save(ep, f, *, extra_files=None, opset_version=None, pickle_protocol=2):
    """Refused, see ``export``."""
    export(None, ())


def load(f, *, extra_files=None, expected_opset_version=None):
    """Refused, see ``export``."""
    export(None, ())


class Dim:
    """A size that may differ between calls: a name for ``dynamic_shapes``."""

    def __init__(self, name, *, min=None, max=None):  # noqa: A002 (PyTorch's names)
        self.__name__, self.min, self.max = name, 0 if min is None else min, max
