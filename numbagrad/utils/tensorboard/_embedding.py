"""Files that TensorBoard's projector reads: vectors, their labels and images."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from tensorboard.compat import tf
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

from ._convert_np import make_np
from ._utils import make_grid


def _gfile_join(a, b):
    # (TensorFlow itself, which tensorboard takes where it is installed, has no ``join`` there.)
    files = tf.io.gfile
    return files.join(a, b) if hasattr(files, "join") else files.get_filesystem(a).join(a, b)


def _write(folder, name, content):
    with tf.io.gfile.GFile(_gfile_join(folder, name), "wb") as f:
        f.write(content)


def make_tsv(metadata, save_path, metadata_header=None):
    """Labels, one a line; with a header, several columns of them."""
    if not metadata_header:
        lines = [str(x) for x in metadata]
    elif len(metadata_header) != len(metadata[0]):
        raise AssertionError("len of header must be equal to the number of columns in metadata")
    else:
        lines = ["\t".join(map(str, row)) for row in [metadata_header, *metadata]]
    _write(save_path, "metadata.tsv", tf.compat.as_bytes("\n".join(lines) + "\n"))


def make_sprite(label_img, save_path):
    """Images of all vectors in one square one."""
    from PIL import Image
    side = math.ceil(label_img.size(0) ** 0.5)
    grid = make_grid(make_np(label_img), ncols=side).transpose(1, 2, 0)
    square = np.zeros((grid.shape[1], grid.shape[1], 3))
    square[:grid.shape[0]] = grid
    with BytesIO() as buf:
        Image.fromarray(np.uint8((square * 255).clip(0, 255))).save(buf, format="PNG")
        _write(save_path, "sprite.png", buf.getvalue())


def make_mat(matlist, save_path):
    """Vectors, one a line."""
    lines = ["\t".join([str(v.item()) for v in x]) + "\n" for x in matlist]
    _write(save_path, "tensors.tsv", tf.compat.as_bytes("".join(lines)))


def get_embedding_info(metadata, label_img, subdir, global_step, tag):
    """Where the files of one embedding are."""
    info = EmbeddingInfo(tensor_name=f"{tag}:{str(global_step).zfill(5)}", tensor_path=_gfile_join(subdir, "tensors.tsv"))
    if metadata is not None:
        info.metadata_path = _gfile_join(subdir, "metadata.tsv")
    if label_img is not None:
        info.sprite.image_path = _gfile_join(subdir, "sprite.png")
        info.sprite.single_image_dim.extend([label_img.size(3), label_img.size(2)])
    return info


def write_pbtxt(save_path, contents):
    """The list of all embeddings."""
    _write(save_path, "projector_config.pbtxt", tf.compat.as_bytes(contents))
