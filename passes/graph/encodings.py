"""Choosing 8-bit encodings, and moving arrays between real and stored values.

    activations   asymmetric, per tensor    real = (q - zp) * scale,  q in [-128, 127]
    weights       symmetric, per channel    real = q * scale[c],      q in [-127, 127]

Scales are rounded to f32 when they are chosen, because `graph.quantize` divides in f32; zero is
always exactly representable (padding, ReLU).  Rounding itself is that of the scalar functions
`quantize` and `dequantize` (`dialects/scalar.py`), so a folded constant and a run-time value agree.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import Attribute

from ...dialects import scalar
from ...dialects.constants import Array
from ...dialects.graph import QuantAttr
from ...dialects.types import int_values, numpy_dtype

QMIN, QMAX = -128, 127
TINY = float(np.finfo(np.float32).tiny)
"""Smallest scale: the least normal f32."""

BIAS_LIMIT = 2.0**29
"""Largest magnitude of a quantised bias that the choice of weight scales leaves."""


def activation_encoding(lo: float, hi: float) -> QuantAttr:
    """Per-tensor i8 encoding of the reals in [lo, hi], widened to include zero.

    ValueError if a bound is not finite.  The zero point is nudged to an integer, so the range
    covered may be shifted by half a step.
    """
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise ValueError(f"the range [{lo}, {hi}] is not finite")
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if lo == hi:
        return QuantAttr.get([1.0], [0])
    scale = float(np.float32(max((hi - lo) / (QMAX - QMIN), TINY)))
    return QuantAttr.get([scale], [int(np.clip(round(QMIN - lo / scale), QMIN, QMAX))])


def weight_scales(weights: Array, axis: int | None, bias: Array | None, x_scale: float) -> Array:
    """Symmetric scales of `weights`, one per index of `axis` (or a single one), as f32.

    A channel whose weights are tiny beside its bias gets a scale coarse enough for the bias, in
    units of x_scale * scale, to stay below 2^29; a channel of zeros gets scale 1.
    """
    w = np.abs(np.asarray(weights, np.float64))
    largest = (
        w.max(initial=0.0)
        if axis is None
        else w.max(axis=tuple(a for a in range(w.ndim) if a != axis), initial=0.0)
    )
    scales = np.atleast_1d(largest) / QMAX
    if bias is not None:
        floor = np.abs(np.asarray(bias, np.float64)) / (x_scale * BIAS_LIMIT)
        scales = np.maximum(scales, floor if axis is not None else floor.max(initial=0.0))
    return np.where(scales > 0, np.maximum(scales, TINY), 1.0).astype(np.float32)


def _aligned(values: Array, axis: int | None, rank: int) -> Array:
    """Per-channel `values` shaped to broadcast along `axis` of a tensor of `rank`."""
    if axis is None:
        return values.reshape(())
    return values.reshape([-1 if a == axis else 1 for a in range(rank)])


def _parameters(encoding: QuantAttr, rank: int) -> tuple[Array, Array]:
    """(scales f32, zero points i64) of `encoding`, broadcasting against a tensor of `rank`."""
    axis = encoding.axis_index
    scales = np.array(encoding.scales.get_values(), np.float32)
    zero_points = np.array(int_values(encoding.zero_points), np.int64)
    return _aligned(scales, axis, rank), _aligned(zero_points, axis, rank)


def quantize_array(values: Array | float, encoding: QuantAttr, element: Attribute = i8) -> Array:
    """Stored values of real `values`; NaN becomes the zero point, infinities saturate."""
    info = np.iinfo(numpy_dtype(element))
    scales, zero_points = _parameters(encoding, np.ndim(values))
    with np.errstate(all="ignore"):
        steps = np.rint(
            np.nan_to_num(
                np.asarray(values, np.float32) / scales, nan=0.0, posinf=1e30, neginf=-1e30
            )
        )
    return np.clip(steps + zero_points, info.min, info.max).astype(info.dtype)


def dequantize_array(stored: Array | int, encoding: QuantAttr) -> Array:
    """Real f32 values of `stored`."""
    scales, zero_points = _parameters(encoding, np.ndim(stored))
    return (np.asarray(stored, np.int64) - zero_points).astype(np.float32) * scales


def all_values(encoding: QuantAttr, element: Attribute = i8) -> Array:
    """The 256 reals a per-tensor 8-bit `encoding` can express, in order of the stored value."""
    info = np.iinfo(numpy_dtype(element))
    stored = np.arange(info.min, info.max + 1)
    params = {"scale": encoding.scale, "zp": encoding.zero_point}
    return scalar.evaluate("dequantize", [stored], params, f32)
