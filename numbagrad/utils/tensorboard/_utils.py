"""Images: figures, grids, orders of dimensions, videos."""

from __future__ import annotations

import numpy as np


def figure_to_image(figures, close=True):
    """Figures of matplotlib as an array (channels, height, width), several of them with one more dimension."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def drawn(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        width, height = figure.canvas.get_width_height()
        pixels = np.frombuffer(canvas.buffer_rgba(), dtype=np.uint8).reshape(height, width, 4)
        if close:
            plt.close(figure)
        return pixels[:, :, :3].transpose(2, 0, 1)
    return np.stack([drawn(f) for f in figures]) if isinstance(figures, list) else drawn(figures)


def _prepare_video(V):
    """Frames (time, height, width, channels) of videos (batch, time, channels, height, width), laid side by side."""
    count, t, c, h, w = V.shape
    if V.dtype == np.uint8:
        V = np.float32(V) / 255.0
    places = count if count and count & (count - 1) == 0 else 1 << count.bit_length()
    if places > count:
        V = np.concatenate((V, np.zeros((places - count, t, c, h, w))), axis=0)
    rows = 1 << ((count.bit_length() - 1) // 2)
    cols = places // rows
    V = V.reshape(rows, cols, t, c, h, w).transpose(2, 0, 4, 1, 5, 3)
    return V.reshape(t, rows * h, cols * w, c)


def make_grid(I, ncols=8):  # noqa: E741
    """One image (3, height, width) of a batch of images of one or three channels."""
    if not isinstance(I, np.ndarray):
        raise AssertionError("plugin error, should pass numpy array here")
    if I.shape[1] == 1:
        I = np.concatenate([I, I, I], 1)  # noqa: E741
    if I.ndim != 4 or I.shape[1] != 3:
        raise AssertionError("Input should be a 4D numpy array with 3 channels")
    count, _, h, w = I.shape
    ncols = min(count, ncols)
    canvas = np.zeros((3, h * -(-count // ncols), w * ncols), dtype=I.dtype)
    for i in range(count):
        y, x = h * (i // ncols), w * (i % ncols)
        canvas[:, y:y + h, x:x + w] = I[i]
    return canvas


def convert_to_HWC(tensor, input_format):
    """An image, or a grid of images, as (height, width, channels); ``input_format`` names its dimensions by letters."""
    if len(set(input_format)) != len(input_format):
        raise AssertionError("You can not use the same dimension shorthand twice.             "
                             f"input_format: {input_format}")
    if len(tensor.shape) != len(input_format):
        raise AssertionError("size of input tensor and input format are different.         "
                             f"tensor shape: {tensor.shape}, input_format: {input_format}")
    input_format = input_format.upper()

    def ordered(letters):
        return tensor.transpose([input_format.find(c) for c in letters])
    if len(input_format) == 4:
        return make_grid(ordered("NCHW")).transpose(1, 2, 0)
    if len(input_format) == 3:
        image = ordered("HWC")
        return np.concatenate([image] * 3, 2) if image.shape[2] == 1 else image
    if len(input_format) == 2:
        return np.stack([ordered("HW")] * 3, 2)
    return None
