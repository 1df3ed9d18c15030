"""``torch.distributed`` as in a PyTorch that was built without it: it says so."""

__all__ = ["is_available"]


def is_available():
    """False: there are no process groups."""
    return False


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.distributed.{name} is not available here)")
