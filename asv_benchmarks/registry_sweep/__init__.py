"""Every op of the registry, and what people write all day, against PyTorch: see ``sweep``."""
