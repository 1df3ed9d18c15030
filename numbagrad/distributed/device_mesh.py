"""Meshes of devices: there are no process groups that they would be made of."""

from . import _without_group

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """The class for annotations and ``isinstance``; making one needs process groups."""

    def __init__(self, device_type, mesh=None, *, mesh_dim_names=None, **kwargs):
        _without_group()


def init_device_mesh(device_type, mesh_shape, *, mesh_dim_names=None, backend_override=None):
    """Refused: there are no process groups."""
    _without_group()
