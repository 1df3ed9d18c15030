"""The registry: every op by its name. It knows nothing of ops, so that any floor may look one up."""

REGISTRY: dict = {}  # name -> ``record.Op``
