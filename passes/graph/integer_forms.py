"""Integer forms of quantised operations: what `dequantize -> op -> quantize` computes on stored values.

Each function takes the operation between, the wanted encoding and the clamp of a fused activation,
and returns the new operations (the last one yields the stored result), or a reason why the
operation has to stay in real arithmetic.

    conv, matmul      i8 x i8 -> i32, bias in units of x_scale * w_scale; requantize per channel
    add, sub          graph.qadd: both operands at a common scale, then requantised
    mul               graph.qmul
    average, mean     i32 sums; requantize by x_scale / (count * y_scale), per position if counts differ
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import fixed_point
from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import (
    ConstantOp,
    ConvOp,
    DequantizeOp,
    MapOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QuantAttr,
    ReduceOp,
    RequantizeOp,
    constant_array,
    quantization,
    spatial_axes,
)
from ...dialects.types import int_values, shape_of
from .encodings import dequantize_array
from .quantize_push import stored_form

INT32_MAX = 2**31 - 1

Form = list[Operation] | str
"""New operations in order, or why there are none."""


@dataclass(frozen=True)
class Target:
    """What the result must be: its encoding, and bounds on the stored value (a fused activation)."""

    encoding: QuantAttr
    lo: int
    hi: int


def integer_form(op: Operation, target: Target, store: ConstantStore) -> Form | None:
    """The integer form of `op`; a reason why not; None if `op` is not of a kind with such a form."""
    match op:
        case ConvOp():
            return _convolution(op, target, store)
        case MatMulOp():
            return _product(op, target, store)
        case PoolOp() if op.kind.data in ("average", "sum"):
            return _pool(op, target, store)
        case ReduceOp() if op.kind.data in ("mean", "sum"):
            return _mean(op, target, store)
        case MapOp() if op.fn.data in ("add", "sub", "mul"):
            return _binary(op, target)
        case _:
            return None


# --- convolution and matrix product ---


@dataclass(frozen=True)
class _Weights:
    """Stored weights with one zero point, and real scales (one, or one per output channel)."""

    constant: ConstantOp
    array: Array
    scales: Array
    zero_point: int


def _weights(value: SSAValue, axis: int, store: ConstantStore) -> _Weights | str:
    form = stored_form(value)
    array = constant_array(form[0], store) if form is not None else None
    if form is None or array is None:
        return "its weights are not an 8-bit constant"
    encoding = form[1]
    if encoding.axis_index not in (None, axis):
        return f"its weights are quantised along axis {encoding.axis_index}, not by output channel"
    zero_points = set(int_values(encoding.zero_points))
    if len(zero_points) > 1:
        return "its weights have a zero point per channel"
    plain = ConstantOp.from_array(array, store)  # scales live on in the requantisation alone
    plain.result.name_hint = form[0].name_hint
    return _Weights(plain, array, np.array(encoding.scales.get_values(), np.float64), zero_points.pop())


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


def _overflows(weights: Array, w_zp: int, axis: int, x_zp: int, bias: Array | None) -> bool:
    """Whether a sum of all products of one output channel, plus bias, may leave 32 bits."""
    magnitude = np.abs(weights.astype(np.int64) - w_zp)
    total = magnitude.sum(axis=tuple(a for a in range(magnitude.ndim) if a != axis))
    worst = total * max(abs(-128 - x_zp), abs(127 - x_zp))
    return bool((worst + (0 if bias is None else np.abs(bias.astype(np.int64)))).max(initial=0) > INT32_MAX)


def _requantize(acc: SSAValue, ratios: Array, target: Target, store: ConstantStore) -> Form:
    """Requantise `acc` by real `ratios`, which broadcast against it (shape [1] for a single one)."""
    if ratios.size == 1:
        ratios = ratios.reshape((1,) * min(1, len(shape_of(acc))))
    try:
        pairs = [fixed_point.quantize_multiplier(float(r)) for r in ratios.reshape(-1)]
    except ValueError as error:
        return str(error)
    multiplier, shift = (
        ConstantOp.from_array(np.array([p[i] for p in pairs], np.int32).reshape(ratios.shape), store) for i in (0, 1)
    )
    multiplier.result.name_hint, shift.result.name_hint = "multiplier", "shift"
    requantize = RequantizeOp(acc, multiplier.result, shift.result, target.encoding, lo=target.lo, hi=target.hi)
    return [multiplier, shift, requantize]


def _ratios(scale: Array, target: Target, trailing: int) -> Array:
    """Accumulator scale over result scale, as [1] or [C, 1, ...] with `trailing` ones."""
    ratios = np.atleast_1d(scale / target.encoding.scale)
    return ratios if ratios.size == 1 else ratios.reshape(-1, *[1] * trailing)


def _convolution(op: ConvOp, target: Target, store: ConstantStore) -> Form | None:
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
    if _overflows(weights.array, weights.zero_point, axis, x[1].zero_point, bias):
        return "a sum of its products may exceed 32 bits"
    constants = [weights.constant, *_constant(bias, store)]
    conv = ConvOp(
        x[0], *(c.result for c in constants),
        strides=int_values(op.strides), pads=int_values(op.pads), dilations=int_values(op.dilations),
        group=op.group.value.data, layout=op.layout.data, x_zp=x[1].zero_point, w_zp=weights.zero_point,
    )  # fmt: skip
    tail = _requantize(conv.result, _ratios(scale, target, rank - 2 if channels_first else 0), target, store)
    return tail if isinstance(tail, str) else [*constants, conv, *tail]


def _product(op: MatMulOp, target: Target, store: ConstantStore) -> Form | None:
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
    if _overflows(weights.array, weights.zero_point, axis, a[1].zero_point, bias):
        return "a sum of its products may exceed 32 bits"
    constants = [weights.constant, *_constant(bias, store)]
    product = MatMulOp(
        a[0], *(c.result for c in constants),
        a_zp=a[1].zero_point, b_zp=weights.zero_point,
    )  # fmt: skip
    tail = _requantize(product.result, _ratios(scale, target, 0), target, store)
    return tail if isinstance(tail, str) else [*constants, product, *tail]


# --- means ---


def window_counts(op: PoolOp) -> Array:
    """What an average pool divides each output by, broadcasting against its result's spatial axes."""
    shape, result = shape_of(op.x), shape_of(op.result)
    axes = spatial_axes(len(shape), op.layout.data)
    pads, ceil_pads, n = int_values(op.pads), int_values(op.ceil_pads), len(axes)
    include = bool(op.count_include_pad.value.data)
    counts = np.ones([1] * n, np.int64)
    for i, axis in enumerate(axes):
        kernel, stride, dilation = (int_values(a)[i] for a in (op.kernel, op.strides, op.dilations))
        taps = np.arange(result[axis])[:, None] * stride + np.arange(kernel)[None, :] * dilation - pads[i]
        low, high = (-pads[i], shape[axis] + pads[n + i] - ceil_pads[i]) if include else (0, shape[axis])
        along = ((taps >= low) & (taps < high)).sum(axis=1)
        counts = counts * along.reshape([-1 if j == i else 1 for j in range(n)])
    return counts


def _pool(op: PoolOp, target: Target, store: ConstantStore) -> Form | None:
    x = stored_form(op.x)
    if x is None:
        return None
    if x[1].axis_index is not None:
        return "its input is quantised per channel"
    counts = window_counts(op) if op.kind.data == "average" else np.ones([1], np.int64)
    if counts.min(initial=1) < 1:
        return "a window of it lies outside its input"
    if 255 * int(np.prod(int_values(op.kernel))) > INT32_MAX:
        return "a sum over its window may exceed 32 bits"
    total = PoolOp(
        x[0], "sum", kernel=int_values(op.kernel), strides=int_values(op.strides), pads=int_values(op.pads),
        dilations=int_values(op.dilations), ceil_pads=int_values(op.ceil_pads), layout=op.layout.data, x_zp=x[1].zero_point,
    )  # fmt: skip
    if (counts == counts.flat[0]).all():
        counts = counts.reshape(-1)[:1]
    elif op.layout.data == "NHWC":
        counts = counts[..., np.newaxis]
    tail = _requantize(total.result, x[1].scale / (counts * target.encoding.scale), target, store)
    return tail if isinstance(tail, str) else [total, *tail]


def _mean(op: ReduceOp, target: Target, store: ConstantStore) -> Form | None:
    x = stored_form(op.x)
    if x is None:
        return None
    if x[1].axis_index is not None:
        return "its input is quantised per channel"
    axes = int_values(op.axes)
    count = math.prod(shape_of(op.x)[a] for a in axes)
    if not 0 < 255 * count <= INT32_MAX:
        return "a sum over its axes may exceed 32 bits"
    total = ReduceOp(x[0], "sum", axes, op.keepdims.value.data, x_zp=x[1].zero_point)
    divisor = count if op.kind.data == "mean" else 1
    ratios = np.array([x[1].scale / (divisor * target.encoding.scale)])
    tail = _requantize(total.result, ratios, target, store)
    return tail if isinstance(tail, str) else [total, *tail]


# --- elementwise arithmetic of two tensors ---


def _binary(op: MapOp, target: Target) -> Form | None:
    forms = [stored_form(v) for v in op.args]
    if len(forms) != 2 or forms[0] is None or forms[1] is None:
        return None
    (a, a_encoding), (b, b_encoding) = forms[0], forms[1]
    if a_encoding.axis_index is not None or b_encoding.axis_index is not None:
        return "an operand is quantised per channel"
    za, zb, encoding = a_encoding.zero_point, b_encoding.zero_point, target.encoding
    try:
        if op.fn.data == "mul":
            ratio = a_encoding.scale * b_encoding.scale / encoding.scale
            multiplier, shift = fixed_point.quantize_multiplier(ratio)
            return [QMulOp(a, b, encoding, za=za, zb=zb, multiplier=multiplier, shift=shift, lo=target.lo, hi=target.hi)]
        scales = a_encoding.scale, b_encoding.scale, encoding.scale
        ma, mb, multiplier, shift = fixed_point.add_multipliers(*scales)
    except ValueError as error:
        return str(error)
    mb = -mb if op.fn.data == "sub" else mb
    return [QAddOp(
        a, b, encoding, za=za, ma=ma, zb=zb, mb=mb, multiplier=multiplier, shift=shift, lo=target.lo, hi=target.hi
    )]  # fmt: skip

