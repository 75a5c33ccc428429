"""Integer softmax and normalisation: tables and factors from scales, at compile time."""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import Operation

from ...dialects import fixed_point
from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, LookupOp, QNormOp, QSoftmaxOp, SoftmaxOp, quantization
from ...dialects.types import shape_of
from .encodings import all_values, quantize_array
from .norm_patterns import norm_of
from .quantize_push import stored_form
from .requantization import INT32_MAX, Form, Target

PER_CHANNEL = "its input is quantised per channel"


def integer_softmax(op: SoftmaxOp, target: Target, store: ConstantStore) -> Form | None:
    """Softmax on stored values, and a table where its result is to have another encoding."""
    x = stored_form(op.x)
    if x is None:
        return None
    if x[1].axis_index is not None:
        return PER_CHANNEL
    axis = op.axis.value.data
    try:
        bits, entries = fixed_point.exponential_table(x[1].scale, shape_of(op.x)[axis])
    except ValueError as error:
        return str(error)
    table = ConstantOp.from_array(entries, store)
    table.result.name_hint = "exponentials"
    softmax = QSoftmaxOp(x[0], table.result, axis, bits)
    encoding = quantization(softmax.result.type)
    assert encoding is not None
    if encoding == target.encoding and (target.lo, target.hi) == (-128, 127):
        return [table, softmax]
    values = np.clip(
        quantize_array(all_values(encoding), target.encoding), target.lo, target.hi
    ).astype(np.int8)
    stored = ConstantOp.from_array(values, store)
    return [table, softmax, stored, LookupOp(softmax.result, stored.result, target.encoding)]


def integer_norm(op: Operation, target: Target, store: ConstantStore) -> Form | None:
    """The normalisation that ends in `op` on stored values; None if it is none, or x is real."""
    norm = norm_of(op, store)
    x = stored_form(norm.x) if norm is not None else None
    if norm is None or x is None:
        return None
    if x[1].axis_index is not None:
        return PER_CHANNEL
    count = math.prod(shape_of(norm.x)[a] for a in norm.axes)
    if count * 255 * 255 > INT32_MAX:
        return "a sum of squares over its axes may exceed 32 bits"
    epsilon = norm.epsilon * (count / x[1].scale) ** 2
    gain, offset = (
        (np.array([default]) if a is None else a.astype(np.float64)) / target.encoding.scale
        for a, default in ((norm.gain, 1.0), (norm.offset, 0.0))
    )
    largest = max(float(np.abs(gain).max(initial=0)), float(np.abs(offset).max(initial=0)))
    if not math.isfinite(epsilon) or not math.isfinite(largest):
        return "its constants are not finite"
    fraction = min(30 - math.frexp(largest)[1], 62 - fixed_point.NORM_BITS) if largest else 0
    if fraction < 1 - fixed_point.NORM_BITS:
        return f"its gain of {largest:.3g} steps is too large"
    try:
        bits, extra = fixed_point.norm_bits(count, round(epsilon))
    except ValueError as error:
        return str(error)
    factors = [ConstantOp.from_array(_fixed(a, fraction), store) for a in (gain, offset)]
    factors[0].result.name_hint, factors[1].result.name_hint = "gain", "offset"
    result = QNormOp(
        x[0], factors[0].result, factors[1].result, target.encoding, axes=norm.axes,
        centred=int(norm.centred), x_zp=x[1].zero_point, epsilon=round(epsilon), bits=bits,
        extra=extra, shift=fraction + fixed_point.NORM_BITS, lo=target.lo, hi=target.hi,
    )  # fmt: skip
    return [*factors, result]


def _fixed(values: Array, fraction: int) -> Array:
    """`values` with `fraction` fraction bits, as i32."""
    return np.rint(np.ldexp(values, fraction)).astype(np.int32)
