"""Signal processing: discrete Fourier transforms, window functions, mel filter banks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .casting import dtype_of
from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _complex(x: Array) -> Array:
    """Pairs of real and imaginary part, or real parts alone, on the last axis."""
    if x.shape[-1] not in (1, 2):
        raise HostError(f"the last axis of shape {list(x.shape)} must hold 1 or 2 numbers")
    wide = x if x.dtype == np.float64 else x.astype(np.float32)
    return wide[..., 0] if x.shape[-1] == 1 else wide[..., 0] + 1j * wide[..., 1]


def _pairs(x: Array, dtype: np.dtype[Any]) -> Array:
    return np.stack([x.real, x.imag], -1).astype(dtype)


@operator("DFT")
def dft(call: Call) -> list[Value]:
    """The transform along an axis; one-sided, half of it, whose inverse is real."""
    x = call.tensor(0)
    given = call.value(2) is not None and call.opset >= 20
    axis = int(call.scalar(2)) if given else int(call.attr("axis", -2))
    if not -x.ndim <= axis < x.ndim or axis % x.ndim == x.ndim - 1:
        raise HostError(f"axis {axis} is not a signal axis of shape {list(x.shape)}")
    axis %= x.ndim
    inverse, onesided = bool(call.attr("inverse", 0)), bool(call.attr("onesided", 0))
    length = 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    if call.value(1) is not None:
        length = int(call.scalar(1))
    if length < 1:
        raise HostError(f"a transform of length {length}")
    shape = [length if i == axis else d for i, d in enumerate(x.shape[:-1])]
    checked_shape(shape, 16)
    signal = _complex(x)
    if inverse and onesided:
        return [np.fft.irfft(signal, length, axis)[..., None].astype(x.dtype)]
    result = (np.fft.ifft if inverse else np.fft.fft)(signal, length, axis)
    if onesided:
        result = np.take(result, range(length // 2 + 1), axis)
    return [_pairs(result, x.dtype)]


@operator("STFT")
def stft(call: Call) -> list[Value]:
    """Transforms `[batch, frame, frequency, 2]` of overlapping, windowed frames."""
    x, window = call.tensor(0), call.optional(2)
    step = int(call.scalar(1))
    signal = _complex(x if x.ndim == 3 else x[..., None])
    length = len(window) if window is not None else signal.shape[1]
    if call.value(3) is not None:
        length = int(call.scalar(3))
    if step < 1 or not 1 <= length <= signal.shape[1]:
        raise HostError(f"frames of {length} every {step} of {signal.shape[1]} samples")
    if window is not None and len(window) != length:
        raise HostError(f"a window of {len(window)} for frames of {length}")
    frames = np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, ::step]
    checked_shape(frames.shape, 16)
    weighted = frames if window is None else frames * window.astype(x.dtype)
    result = np.fft.fft(weighted, axis=-1)
    if call.attr("onesided", 1):
        result = result[..., : length // 2 + 1]
    return [_pairs(result, x.dtype)]


_COEFFICIENTS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@operator("HannWindow", "HammingWindow", "BlackmanWindow")
def window(call: Call) -> list[Value]:
    """`a - b cos(2 pi i / n) + c cos(4 pi i / n)`; symmetric ones divide by `n - 1`."""
    (size,) = checked_shape([call.scalar(0)])
    n = size if call.attr("periodic", 1) else size - 1
    a, b, c = _COEFFICIENTS[call.op]
    angle = 2 * np.pi * np.arange(size, dtype=np.float64) / max(n, 1)
    values = a - b * np.cos(angle) + c * np.cos(2 * angle)
    if n == 0:
        values = np.ones(size)
    return [values.astype(dtype_of(int(call.attr("output_datatype", 1))))]


@operator("MelWeightMatrix")
def mel_weight_matrix(call: Call) -> list[Value]:
    """Triangular filters, evenly spaced on the mel scale, with corners on frequency bins."""
    bins, length, rate = (int(call.scalar(i)) for i in range(3))
    low, high = float(call.scalar(3)), float(call.scalar(4))
    if bins < 1 or length < 1 or rate < 1:
        raise HostError(f"{bins} filters of a transform of {length} at a rate of {rate}")
    rows, _ = checked_shape((length // 2 + 1, bins))
    mel_low, mel_high = (2595 * np.log10(1 + hertz / 700) for hertz in (low, high))
    steps = np.arange(bins + 2, dtype=np.float64)
    mel = steps * (mel_high - mel_low) / (bins + 2) + mel_low
    corners = ((length + 1) * 700 * (10 ** (mel / 2595) - 1) // rate).astype(np.int64)
    if corners.min() < 0 or corners.max() > rows:
        raise HostError(f"frequencies from {low} to {high} are outside 0..{rate / 2}")
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    row = np.arange(rows, dtype=np.int64)[:, None]
    rise = np.where(centre > left, (row - left) / np.maximum(centre - left, 1), 1.0)
    fall = (right - row) / np.maximum(right - centre, 1)
    out = np.where((row >= left) & (row <= centre), rise, 0.0)
    out = np.where((row >= centre) & (row < right), fall, out)
    return [out.astype(dtype_of(int(call.attr("output_datatype", 1))))]
