"""``stft`` and ``istft``: Fourier transforms of windows that move over a signal, and the signal of such transforms."""

from __future__ import annotations

import warnings

import numbagrad
from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import user_level, warn_once
from numbagrad.core.creation import ones
from numbagrad.extend import T, custom, function, kernel

from .transforms import op

NO_WINDOW = {
    "stft": "A window was not provided. A rectangular window will be applied,which is known to cause spectral leakage. Other "
            "windows such as torch.hann_window or torch.hamming_window are recommended to reduce spectral leakage.To suppress "
            "this warning and use a rectangular window, explicitly set `window=torch.ones(n_fft, device=<device>)`.",
    "istft": "A window was not provided. A rectangular window will be applied.Please provide the same window used by stft to "
             "make the inversion lossless.To suppress this warning and use a rectangular window, explicitly set "
             "`window=torch.ones(n_fft, device=<device>)`."}
REAL_RESULT = ("stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex tensors "
               "for all inputs, and return_complex=False will raise an error.\nNote: you can still call torch.view_as_real on "
               "the complex output to recover the old return format.")


def _shown(value):
    return value if value is None else int(value)


def _type(t):
    name = dt.TYPE_NAMES[t.dtype.name]
    return f"CPU{name}Type" if t._kind.dtype.is_complex else f"torch.{name}Tensor"


def _window(window, win_length, n_fft, like):
    """The window between zeros, as long as the transform."""
    if window is None:
        window = ones(win_length, dtype=like.dtype, device=like.device)
    left = (n_fft - win_length) // 2
    return op("constant_pad_nd")(window, (left, n_fft - win_length - left)) if win_length < n_fft else window


@function(reference=None, kinds={"window": "any"})
def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False,
         onesided=None, return_complex=None, align_to_window=None):
    """Transforms of ``n_fft`` numbers every ``hop_length``, times a window: (..., frequencies, windows)."""
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    x = input
    if center:
        ndim, pad = len(x._shape), n_fft // 2
        x = numbagrad.nn.functional.pad(x.view([1] * (3 - ndim) + list(x._shape)), [pad, pad], pad_mode)
        x = x.view(x._shape[-ndim:] if ndim else ())
    if window is None:
        warn_once(NO_WINDOW["stft"])
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    given = "None" if window is None else f"{_type(window)}{{{list(window._shape)}}}"
    call = (f"stft({_type(x)}{list(x._shape)}, n_fft={n_fft}, hop_length={hop_length}, win_length={win_length}, "
            f"window={given}, normalized={int(normalized)}, onesided={_shown(onesided)}, "
            f"return_complex={_shown(return_complex)}, "
            f"align_to_window={_shown(align_to_window)})")
    is_complex = x._kind.dtype.is_complex or window is not None and window._kind.dtype.is_complex
    if return_complex is None:
        if not is_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs, and will further require "
                               "that return_complex=True in a future PyTorch release.")
        return_complex = True
    if not return_complex:
        warn_once(REAL_RESULT)
    if x._kind.dtype.category < 2:
        raise RuntimeError(f"{call} : expected a tensor of floating point or complex values")
    if not 1 <= len(x._shape) <= 2:
        raise RuntimeError(f"{call} : expected a 1D or 2D tensor")
    row = len(x._shape) == 1
    x = x.unsqueeze(0) if row else x
    n = x._shape[1]
    if not 0 < n_fft <= n:
        raise RuntimeError(f"{call} : expected 0 < n_fft < {n}, but got n_fft={win_length}")  # (as PyTorch says)
    if hop_length <= 0:
        raise RuntimeError(f"{call} : expected hop_length > 0, but got hop_length={hop_length}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"{call} : expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if window is not None and window._shape != (win_length,):
        raise RuntimeError(f"{call} : expected a 1D window tensor of size equal to win_length={win_length}, but got window "
                           f"with size {list(window._shape)}")
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window:
        rest = (n_fft - win_length) // 2
        x = op("constant_pad_nd")(x, (rest, rest))
    frames = x.unfold(1, n_fft, hop_length)
    if window is not None or win_length < n_fft:
        frames = frames * _window(window, win_length, n_fft, x)
    norm = "ortho" if normalized else None
    half = onesided is not False and not is_complex
    y = op("rfft" if half else "fft")(frames, None, -1, norm).transpose(1, 2)
    y = y.squeeze(0) if row else y
    return y if return_complex else op("view_as_real")(y)


@kernel
def add_frames(frames: "*T", out: "*T", windows: int, n: int, hop: int, length: int, start: int, stop: int):
    """Signals out (b, length): the sums of frames (b, windows, n) that begin every ``hop`` elements. An item is a stretch of so
    many of a signal."""
    stretches = (length + hop - 1) // hop
    for item in range(start, stop):
        signal = item // stretches
        m = item - signal * stretches
        at, size = signal * length + m * hop, min(hop, length - m * hop)
        for i in range(size):
            out[at + i] = T(0)
        for q in range((n + hop - 1) // hop):
            if 0 <= m - q < windows:
                first = (signal * windows + m - q) * n + q * hop
                for i in range(min(size, n - q * hop)):
                    out[at + i] = out[at + i] + frames[first + i]


@custom(private=True, node="UnfoldBackwardBackward0", reference=None)
def overlapped(input, hop: int):
    """The sums of frames (*, windows, n) at their places, every ``hop`` elements."""
    windows, n = input._shape[-2:]
    return (*input._shape[:-2], n + hop * (windows - 1)), input._kind


@overlapped.cpu
def _(out, input, hop):
    windows, n = input._shape[-2:]
    length = out._shape[-1]
    if out._n:
        add_frames.launch(input, out, windows, n, hop, length, rows=out._n // length * -(-length // hop), work=input._n)


@overlapped.gradient
def _(g, shape, hop):
    return g.unfold(-1, shape[-1], hop)


@function(reference=None, kinds={"window": "any", "length": "any"})
def istft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=None,
          length=None, return_complex=False):
    """The signal whose ``stft`` is nearest to ``input``: the sum of all windows by that of the windows' squares."""
    if window is None:
        warn_once(NO_WINDOW["istft"])
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if not input._kind.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft with "
                           "return_complex=True.")
    given = "None" if window is None else f"{_type(window)}{{{list(window._shape)}}}"
    call = (f"istft({_type(input)}{list(input._shape)}, n_fft={n_fft}, hop_length={hop_length}, "
            f"win_length={win_length}, window={given}, center={int(center)}, normalized={int(normalized)}, "
            f"onesided={_shown(onesided)}, length={_shown(length)}, return_complex={int(return_complex)})")
    if not input._n:
        raise RuntimeError(f"{call} : input tensor cannot be empty.")
    ndim = len(input._shape)
    if ndim not in (2, 3):
        raise RuntimeError(f"{call} : expected a tensor with 3 or 4 dimensions, but got {ndim + 1}")
    n, windows = input._shape[-2:]
    half = (n != n_fft) if onesided is None else onesided
    if half and n != n_fft // 2 + 1:
        raise RuntimeError(f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / "
                           f"2 + 1 when onesided=True, but got {n}")
    if not half and n != n_fft:
        raise RuntimeError(f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft "
                           f"when onesided=False, but got {n}")
    if not 0 < hop_length <= win_length:
        raise RuntimeError(f"{call} : expected 0 < hop_length <= win_length")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"{call} : expected 0 < win_length <= n_fft")
    if window is not None and window._shape != (win_length,):
        raise RuntimeError(f"{call} : Invalid window shape. window has to be 1D and length of `win_length`")
    if return_complex and half:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window._kind.dtype.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    window = _window(window, win_length, n_fft, op("real")(input))
    return _signal(call, input, n_fft, hop_length, window, center, normalized, half, length, return_complex, windows)


def _signal(call, input, n_fft, hop_length, window, center, normalized, half, length, return_complex, windows):
    x = (input.unsqueeze(0) if len(input._shape) == 2 else input).transpose(1, 2)
    norm = "ortho" if normalized else None
    if return_complex:
        frames = op("ifft")(x, None, -1, norm)
    else:
        frames = op("irfft")(x if half else x.narrow(-1, 0, n_fft // 2 + 1), n_fft, -1, norm)
    whole = n_fft + hop_length * (windows - 1)
    y = overlapped(frames * window.view(1, 1, n_fft), hop_length)
    weights = overlapped((window * window).expand(1, windows, n_fft), hop_length)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else whole - (n_fft // 2 if center else 0)
    y, weights = y[:, start:end], weights[:, start:end]
    least = weights.detach().abs().min()
    if not bool(least > 1e-11):
        raise RuntimeError(f"{call} window overlap add min: 1\n[ CPUBoolType{{}} ]")
    y = y / weights
    missing = end - start - y._shape[1]
    if missing > 0:
        warnings.warn("The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
                      "tail. Please check your center and hop_length settings", UserWarning, stacklevel=user_level())
        y = op("constant_pad_nd")(y, (0, missing))
    return y.squeeze(0) if len(input._shape) == 2 else y
