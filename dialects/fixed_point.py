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


# --- softmax and normalisation along a row of 8-bit values (docs/quantization.md) ---

NORM_BITS = 20
"""Fraction bits of a normalised value."""
MAX_ROW = 1 << 15
"""Longest row whose sums of squares and scaled deviations are sure to fit their types."""


def exponential_table(scale: float, count: int) -> tuple[int, Any]:
    """(fraction bits k, int32 table of exp(-i * scale) * 2^k for i in 0..255), i = max - q.

    k is the most for which a sum of `count` entries stays below 2^30; ValueError if `count` is
    more than `MAX_ROW`.
    """
    if not 1 <= count <= MAX_ROW:
        raise ValueError(f"a row of {count} elements is longer than {MAX_ROW}")
    bits = min(22, 30 - (count - 1).bit_length())
    entries = np.rint(np.exp(-np.arange(256, dtype=np.float64) * scale) * 2.0**bits)
    return bits, entries.astype(np.int32)


def reciprocal(x: Any, bits: int) -> Any:
    """2^bits / x rounded half up, x >= 1 (smaller counts as 1); int64."""
    x = np.maximum(np.asarray(x, np.int64), 1)
    return ((np.int64(1) << bits) + (x >> 1)) // x


def integer_sqrt(x: Any) -> Any:
    """Floor of the square root of 0 <= x < 2^62, exactly; int64.

    The double-precision root is off by at most one, which two comparisons repair.
    """
    x = np.asarray(x, np.int64)
    root: Any = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root = root - (root * root > x)
    return root + ((root + 1) * (root + 1) <= x)


def norm_bits(count: int, epsilon: int) -> tuple[int, int]:
    """(b, e) of a row of `count`: 1 / deviation has b bits, the square root e more.

    A row that is not constant has count * squares - total^2 >= count - 1, so b is such that
    2^b / sqrt(count - 1) stays within 31 bits; e is the most for which the variance, shifted left
    by 2e, stays below 2^62.  ValueError if the row is too long or epsilon too large.
    """
    if not 1 <= count <= MAX_ROW or not 0 <= epsilon < 1 << 46:
        raise ValueError(f"no normalisation of {count} elements with epsilon {epsilon}")
    largest = count * count * 255 * 255 + epsilon
    return 30 + (max(count - 1, 1).bit_length() - 1) // 2, (62 - largest.bit_length()) // 2


def inverse_deviation(
    squares: Any, total: Any, count: int, epsilon: int, bits: int, extra: int
) -> Any:
    """2^bits / sqrt(count * squares - total^2 + epsilon), in units of `norm_bits`; int64."""
    squares, total = np.asarray(squares, np.int64), np.asarray(total, np.int64)
    variance = np.maximum(count * squares - total * total, max(count - 1, 1)) + epsilon
    variance = np.minimum(variance, (1 << (62 - 2 * extra)) - 1)  # whatever the operands
    return reciprocal(integer_sqrt(variance << (2 * extra)), bits + extra)


def normalize(
    x: Any, total: Any, inverse: Any, gain: Any, offset: Any,
    x_zp: int, count: int, bits: int, shift: int, zp: int, lo: int, hi: int,
) -> Any:  # fmt: skip
    """clamp((u * gain + offset * 2^20 + 2^(shift-1)) >> shift + zp); int64.

    u is the normalised value with 20 fraction bits, rounded half up:
    (count * (x - x_zp) - total) * inverse / 2^(bits - 20).
    """
    x, total, inverse, gain, offset = (
        np.asarray(v).astype(np.int64) for v in (x, total, inverse, gain, offset)
    )
    down = bits - NORM_BITS
    normal = ((count * (x - x_zp) - total) * inverse + (1 << (down - 1))) >> down
    scaled = normal * gain + (offset << NORM_BITS)
    return np.clip(((scaled + (1 << (shift - 1))) >> shift) + zp, lo, hi)
