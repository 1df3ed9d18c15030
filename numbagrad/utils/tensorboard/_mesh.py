"""Messages of meshes and clouds of points."""

from __future__ import annotations

import json

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from ...core.creation import as_tensor


def mesh(tag, vertices, colors, faces, config_dict, display_name=None, description=None):
    """Vertices (batch, points, 3), with faces and colors if there are any."""
    from tensorboard.plugins.mesh import metadata
    from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
    config = "{}" if config_dict is None else json.dumps(config_dict, sort_keys=True)
    given = [(as_tensor(t), kind) for t, kind in (
        (vertices, MeshPluginData.VERTEX), (faces, MeshPluginData.FACE), (colors, MeshPluginData.COLOR)) if t is not None]
    components = metadata.get_components_bitmask([kind for _, kind in given])
    values = []
    for t, kind in given:
        about = metadata.create_summary_metadata(tag, display_name, kind, components, t.shape, description, json_config=config)
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=s) for s in t.shape[:3]])
        proto = TensorProto(dtype="DT_FLOAT", float_val=t.reshape(-1).tolist(), tensor_shape=shape)
        values.append(Summary.Value(tag=metadata.get_instance_name(tag, kind), tensor=proto, metadata=about))
    return Summary(value=values)
