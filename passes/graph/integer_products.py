"""Integer convolutions and matrix products.

i8 x i8 -> i32, bias in units of x_scale * w_scale, zero points as attributes;
requantised by x_scale * w_scale[c] / y_scale per output channel

Weights are constants with a scale per output channel, or computed at run time (the products of
attention) with one scale and one zero point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import (
    ConstantOp,
    ConvOp,
    DequantizeOp,
    MatMulOp,
    constant_array,
    quantization,
)
from ...dialects.types import int_values, shape_of
from .encodings import dequantize_array
from .quantize_push import stored_form
from .requantization import INT32_MAX, Form, Target, requantized


@dataclass(frozen=True)
class _Weights:
    """Stored weights with one zero point, and real scales (one, or one per output channel).

    `array` are their values and `constants` holds them, unless they are computed at run time.
    """

    value: SSAValue
    constants: list[ConstantOp]
    array: Array | None
    scales: Array
    zero_point: int


def _weights(value: SSAValue, axis: int, store: ConstantStore) -> _Weights | str:
    form = stored_form(value)
    if form is None:
        return "its weights are not stored in 8 bits"
    array, encoding = constant_array(form[0], store), form[1]
    if encoding.axis_index not in (None, axis):
        return f"its weights are quantised along axis {encoding.axis_index}, not by output channel"
    zero_points = set(int_values(encoding.zero_points))
    if len(zero_points) > 1:
        return "its weights have a zero point per channel"
    scales, zero_point = np.array(encoding.scales.get_values(), np.float64), zero_points.pop()
    if array is None:
        return _Weights(form[0], [], None, scales, zero_point)
    plain = ConstantOp.from_array(array, store)  # scales live on in the requantisation alone
    plain.result.name_hint = form[0].name_hint
    return _Weights(plain.result, [plain], array, scales, zero_point)


def real_constant(value: SSAValue, store: ConstantStore) -> Array | None:
    """The contents of a real constant, dequantised if it is stored as integers."""
    owner = value.owner
    if isinstance(owner, DequantizeOp) and (encoding := quantization(owner.x.type)) is not None:
        array = constant_array(owner.x, store)
        return None if array is None else dequantize_array(array, encoding)
    return constant_array(value, store)


def _bias(bias: SSAValue | None, scale: Array, store: ConstantStore) -> Array | str | None:
    """The bias in units of the accumulator."""
    if bias is None:
        return None
    real = real_constant(bias, store)
    if real is None:
        return "its bias is not a constant"
    units = np.rint(np.asarray(real, np.float64) / scale)
    if not np.isfinite(units).all() or np.abs(units).max(initial=0) > INT32_MAX:
        return "its bias does not fit 32 bits in units of x_scale * w_scale"
    return units.astype(np.int32)


def _constant(bias: Array | None, store: ConstantStore) -> list[ConstantOp]:
    return [] if bias is None else [ConstantOp.from_array(bias, store)]


def _overflows(weights: _Weights, summed: tuple[int, ...], x_zp: int, bias: Array | None) -> bool:
    """Whether a sum of products over axes `summed` of the weights, plus bias, may leave 32 bits."""
    zp, shape = weights.zero_point, shape_of(weights.value)
    if weights.array is None:
        total = np.array(math.prod(shape[a] for a in summed) * _farthest(zp), np.int64)
    else:
        total = np.abs(weights.array.astype(np.int64) - zp).sum(axis=summed)
    worst = total * _farthest(x_zp)
    return bool(
        (worst + (0 if bias is None else np.abs(bias.astype(np.int64)))).max(initial=0) > INT32_MAX
    )


def _farthest(zero_point: int) -> int:
    """The largest magnitude of an 8-bit value minus its zero point."""
    return max(abs(-128 - zero_point), abs(127 - zero_point))


def _ratios(scale: Array, target: Target, trailing: int) -> Array:
    """Accumulator scale over result scale, as [1] or [C, 1, ...] with `trailing` ones."""
    ratios = np.atleast_1d(scale / target.encoding.scale)
    return ratios if ratios.size == 1 else ratios.reshape(-1, *[1] * trailing)


def integer_convolution(op: ConvOp, target: Target, store: ConstantStore) -> Form | None:
    """`op` on stored values; None if its input is real."""
    rank, channels_first = len(shape_of(op.x)), op.layout.data == "NCHW"
    axis = 0 if channels_first else rank - 1
    x, weights = stored_form(op.x), _weights(op.w, axis, store)
    if x is None or isinstance(weights, str):
        return None if x is None else str(weights)
    if x[1].axis_index is not None:
        return "its input is quantised per channel"
    scale = x[1].scale * weights.scales
    bias = _bias(op.b, scale, store)
    if isinstance(bias, str):
        return bias
    summed = tuple(a for a in range(rank) if a != axis)
    if _overflows(weights, summed, x[1].zero_point, bias):
        return "a sum of its products may exceed 32 bits"
    biases = _constant(bias, store)
    conv = ConvOp(
        x[0], weights.value, *(c.result for c in biases),
        strides=int_values(op.strides), pads=int_values(op.pads),
        dilations=int_values(op.dilations), group=op.group.value.data, layout=op.layout.data,
        x_zp=x[1].zero_point, w_zp=weights.zero_point,
    )  # fmt: skip
    tail = requantized(
        conv.result, _ratios(scale, target, rank - 2 if channels_first else 0), target, store
    )
    return tail if isinstance(tail, str) else [*weights.constants, *biases, conv, *tail]


def integer_product(op: MatMulOp, target: Target, store: ConstantStore) -> Form | None:
    """`op` on stored values; None if an operand is real."""
    axis = len(shape_of(op.b)) - 1
    a, weights = stored_form(op.a), _weights(op.b, axis, store)
    if a is None or isinstance(weights, str):
        return None if a is None else str(weights)
    if a[1].axis_index is not None:
        return "its left operand is quantised per channel"
    scale = a[1].scale * weights.scales
    bias = _bias(op.bias, scale, store)
    if isinstance(bias, str):
        return bias
    if _overflows(weights, (axis - 1,), a[1].zero_point, bias):
        return "a sum of its products may exceed 32 bits"
    biases = _constant(bias, store)
    product = MatMulOp(
        a[0], weights.value, *(c.result for c in biases),
        a_zp=a[1].zero_point, b_zp=weights.zero_point,
    )  # fmt: skip
    tail = requantized(product.result, _ratios(scale, target, 0), target, store)
    return tail if isinstance(tail, str) else [*weights.constants, *biases, product, *tail]
