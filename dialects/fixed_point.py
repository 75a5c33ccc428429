"""Integer requantisation: the one definition used by every level, the simulator and the CPU end.

A real multiplier r in (0, 2^30) becomes a fixed-point pair (m, s) with 2^30 <= m < 2^31 and
r ~= m / 2^s.  Requantising a 32-bit accumulator `acc` to a narrow integer is then

    p = int64(acc) * int64(m)
    y = clamp(((p + 2^(s-1)) >> s) + zero_point, lo, hi)

with an arithmetic shift: round half up ("rndnu" of XNNPACK, requantization.h), a single rounding.
`s` is in 1..62, so |p| + 2^(s-1) < 2^63 for every 32-bit accumulator: nothing overflows.
(Double rounding as in gemmlowp differs from this and is not used anywhere.)

Addition of two quantised tensors brings both to a common scale first: with s_max = max(s_a, s_b),
m_a = round(s_a / s_max * 2^20), m_b likewise, the accumulator is
(a - z_a) * m_a + (b - z_b) * m_b, at most 2 * 255 * 2^20 < 2^30 in magnitude, requantised by
s_max / (s_y * 2^20) (the left shift of 20 follows TensorFlow Lite's reference ADD).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ADD_SHIFT = 20
"""Bits of headroom the operands of a quantised addition are scaled up by."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Fixed-point (m, s) of a positive real multiplier: r ~= m * 2^-s, relative error <= 2^-31.

    Multipliers below 2^-32 lose precision gracefully (s is capped at 62); ValueError if `real` is
    not finite, negative, or at least 2^30.
    """
    if not math.isfinite(real) or real < 0 or real >= 2.0**30:
        raise ValueError(f"requantisation multiplier {real} is outside [0, 2^30)")
    if real == 0:
        return 0, 1
    mantissa, exponent = math.frexp(real)  # real = mantissa * 2^exponent, mantissa in [0.5, 1)
    multiplier, shift = round(mantissa * 2**31), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > 62:
        multiplier, shift = round(real * 2.0**62), 62
    return multiplier, shift


def requantize(acc: Any, multiplier: Any, shift: Any, zero_point: int, lo: int, hi: int) -> Any:
    """Numpy form of the definition above; arguments broadcast, the result is int64 in [lo, hi]."""
    shift = np.asarray(shift, np.int64)
    product = np.asarray(acc).astype(np.int64) * np.asarray(multiplier, np.int64)
    rounded = (product + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(rounded + zero_point, lo, hi)


def add_multipliers(scale_a: float, scale_b: float, scale_y: float) -> tuple[int, int, int, int]:
    """(m_a, m_b, multiplier, shift) of a quantised addition, as defined above."""
    biggest = max(scale_a, scale_b)
    one = 1 << ADD_SHIFT
    multiplier, shift = quantize_multiplier(biggest / (scale_y * one))
    return round(scale_a / biggest * one), round(scale_b / biggest * one), multiplier, shift
