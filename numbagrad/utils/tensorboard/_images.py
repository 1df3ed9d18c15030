"""Messages of images and videos."""

from __future__ import annotations

import io
import tempfile

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from ._convert_np import make_np
from ._utils import _prepare_video, convert_to_HWC


def _bytes(tensor):
    """Pixels as bytes: integers as they are, others times 255."""
    return (tensor.astype(np.float32) * (1 if tensor.dtype == np.uint8 else 255)).clip(0, 255).astype(np.uint8)


def image(tag, tensor, rescale=1, dataformats="NCHW"):
    """An image, or a grid of images."""
    pixels = _bytes(convert_to_HWC(make_np(tensor), dataformats))
    return Summary(value=[Summary.Value(tag=tag, image=make_image(pixels, rescale=rescale))])


def image_boxes(tag, tensor_image, tensor_boxes, rescale=1, dataformats="CHW", labels=None):
    """An image with boxes drawn into it."""
    pixels = _bytes(convert_to_HWC(make_np(tensor_image), dataformats))
    made = make_image(pixels, rescale=rescale, rois=make_np(tensor_boxes), labels=labels)
    return Summary(value=[Summary.Value(tag=tag, image=made)])


def draw_boxes(disp_image, boxes, labels=None):
    """Boxes (left, top, right, bottom) in red, with their labels."""
    for i in range(boxes.shape[0]):
        disp_image = _draw_single_box(disp_image, *boxes[i, :4], display_str=None if labels is None else labels[i], color="Red")
    return disp_image


def _draw_single_box(image, xmin, ymin, xmax, ymax, display_str, color="black", color_text="black", thickness=2):
    from PIL import ImageDraw, ImageFont
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    draw.line([(xmin, ymin), (xmin, ymax), (xmax, ymax), (xmax, ymin), (xmin, ymin)], width=thickness, fill=color)
    if display_str:
        left, top, right, bottom = font.getbbox(display_str)
        width, height = right - left, bottom - top
        margin = np.ceil(0.05 * height)
        draw.rectangle([(xmin, ymax - height - 2 * margin), (xmin + width, ymax)], fill=color)
        draw.text((xmin + margin, ymax - height - margin), display_str, fill=color_text, font=font)
    return image


def make_image(tensor, rescale=1, rois=None, labels=None):
    """The message of pixels (height, width, channels)."""
    from PIL import Image
    height, width, channels = tensor.shape
    picture = Image.fromarray(tensor)
    if rois is not None:
        picture = draw_boxes(picture, rois, labels=labels)
    picture = picture.resize((int(width * rescale), int(height * rescale)), Image.Resampling.LANCZOS)
    with io.BytesIO() as buf:
        picture.save(buf, format="PNG")
        encoded = buf.getvalue()
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded)


def video(tag, tensor, fps=4):
    """Videos (batch, time, channels, height, width), side by side."""
    return Summary(value=[Summary.Value(tag=tag, image=make_video(_bytes(_prepare_video(make_np(tensor))), fps))])


def make_video(tensor, fps):
    """The message of frames, by moviepy; None, and a word about it, where that is not installed."""
    try:
        import moviepy  # noqa: F401
    except ImportError:
        print("add_video needs package moviepy")
        return None
    try:
        from moviepy.editor import ImageSequenceClip
    except ImportError:
        try:
            from moviepy import ImageSequenceClip  # from release 2 on
        except ImportError:
            print("moviepy is installed, but can't import moviepy.editor.",
                  "Some packages could be missing [imageio, requests]")
            return None
    _, height, width, channels = tensor.shape
    clip = ImageSequenceClip(list(tensor), fps=fps)
    with tempfile.NamedTemporaryFile(suffix=".gif") as f:
        try:
            clip.write_gif(f.name, verbose=False, logger=None)
        except TypeError:
            clip.write_gif(f.name, logger=None)
        f.seek(0)
        encoded = f.read()
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded)
