"""QuantizeLinear, DequantizeLinear and the operators that hold both (QLinearConv, QLinearMatMul).

With constant scales these are `graph.quantize` and `graph.dequantize`, the encoding in the type;
QLinear operators become dequantize, real operator, quantize, which later passes turn into integer
arithmetic like any other quantised model.  Scales computed at run time become elementwise
operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from xdsl.dialects.builtin import f32, i8, i32
from xdsl.ir import Attribute, SSAValue

from ....dialects.constants import Array
from ....dialects.graph import (
    ConstantOp,
    DequantizeOp,
    MapOp,
    MatMulOp,
    QuantAttr,
    QuantizeOp,
    quantization,
)
from ....dialects.types import element_of, element_type, has_element_type, shape_of, ui8
from ..node import Node, Value, rule
from ..tensors import numpy_type
from .convolution import conv_window, emit_conv
from .matmul import centred, product


def encoding(
    node: Node, scale: Array, zero_point: Array | None, shape: tuple[int, ...], axis: int
) -> QuantAttr:
    """The encoding of a tensor of `shape`: per tensor, or per index of `axis`."""
    scales = [float(s) for s in scale.reshape(-1)]
    zero_points = (
        [0] * len(scales) if zero_point is None else [int(z) for z in zero_point.reshape(-1)]
    )
    if not all(math.isfinite(s) and s > 0 for s in scales) or not scales:
        raise node.error("scales must be finite and positive")
    if len(zero_points) != len(scales):
        raise node.error(f"{len(scales)} scales and {len(zero_points)} zero points")
    if len(scales) == 1:  # also as a vector, whatever the axis: onnxruntime's tools write both
        return QuantAttr.get(scales, zero_points)
    axis = node.axis(axis, len(shape))
    if scale.ndim != 1 or shape[axis] != len(scales):
        raise node.error(
            f"scales of shape {list(scale.shape)} do not fit axis {axis} of {list(shape)}"
        )
    return QuantAttr.get(scales, zero_points, axis)


def storage(node: Node, dtype: np.dtype[np.generic]) -> Attribute:
    """The element type `dtype` stores quantised values in; refuses all but 8 bits."""
    element = element_type(dtype) if has_element_type(dtype) else None
    if element not in (i8, ui8):
        raise node.unsupported(f"quantisation to {dtype.name}", "quantise to int8 or uint8")
    assert element is not None
    return element


@rule("QuantizeLinear")
def quantize_linear(node: Node) -> Value:
    """Real -> stored."""
    wanted = node.integer("output_dtype", 0) or int(TensorProto.UINT8)
    dtype = node.dtype(2) if node.has(2) else numpy_type(wanted)
    x, scale, zero_point = node.cast(node.x(), f32), node.array(1), node.array(2)
    computed = node.has(2) and zero_point is None
    if scale is None or computed or dtype.itemsize > 1 or _blocked(node):
        return quantized_by_tensors(node, x, 1, dtype)
    found = encoding(node, scale, zero_point, node.shape(), node.integer("axis", 1))
    return node.emit(QuantizeOp(x, found, storage(node, dtype)))


def _blocked(node: Node) -> bool:
    """Whether the scale has more than one axis: one for each block of an axis."""
    return bool(node.integer("block_size", 0)) and len(node.shape(1)) > 1


def _along(node: Node, i: int, shape: Sequence[int]) -> SSAValue:
    """Scale or zero point `i`, in f32, shaped to broadcast against data of `shape`."""
    x, rank = node.cast(node.x(i), f32), len(shape)
    if math.prod(shape_of(x)) == 1:
        return node.reshape(x, ())
    axis = node.axis(node.integer("axis", 1), rank)
    if len(shape_of(x)) == 1:
        return node.reshape(x, (*shape_of(x), *[1] * (rank - axis - 1)))
    block, given = node.integer("block_size", 0), shape_of(x)
    if block < 1 or len(given) != rank or -(-shape[axis] // block) != given[axis]:
        raise node.error(f"scales of shape {list(given)} do not fit blocks of {list(shape)}")
    wide = node.reshape(x, (*given[: axis + 1], 1, *given[axis + 1 :]))
    wide = node.broadcast(wide, (*given[: axis + 1], block, *given[axis + 1 :]))
    wide = node.reshape(wide, (*given[:axis], given[axis] * block, *given[axis + 1 :]))
    return node.slice_axis(wide, axis, 0, shape[axis])


def quantized_by_tensors(node: Node, x: SSAValue, i: int, dtype: np.dtype[np.generic]) -> SSAValue:
    """saturate(round(x / scale) + zero point) by inputs `i` (scale) and i + 1 (zero point)."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        raise node.unsupported(f"quantisation to {dtype.name}", "quantise to 8 or 16 bits")
    y = node.map("round", node.map("div", x, _along(node, i, shape_of(x))))
    if node.has(i + 1):
        y = node.map("add", y, _along(node, i + 1, shape_of(x)))
    limits = np.iinfo(dtype.name)
    saturated = node.map("clip", y, min=float(limits.min), max=float(limits.max))
    return node.cast(saturated, element_type(dtype))


@rule("DequantizeLinear")
def dequantize_linear(node: Node) -> Value:
    """Stored -> real."""
    scale, zero_point = node.array(1), node.array(2)
    packed = node.array(0)
    if packed is not None and not has_element_type(packed.dtype):
        return _unpacked(node, packed)
    if scale is None or (node.has(2) and zero_point is None) or _blocked(node):
        shape = node.shape()
        x = node.cast(node.x(), f32)
        if node.has(2):
            x = node.map("sub", x, _along(node, 2, shape))
        return node.cast(node.map("mul", x, _along(node, 1, shape)), element_of(node.x(1)))
    real = dequantized(
        node, 0, encoding(node, scale, zero_point, node.shape(), node.integer("axis", 1))
    )
    return node.cast(real, element_type(scale.dtype))


def _unpacked(node: Node, stored: Array) -> Value:
    """Constants of 2 or 4 bits as reals: weights that are small in the file, not in memory."""
    scale = node.static(1, "the scale")
    zero_point = node.static(2, "the zero point") if node.has(2) else None

    def wide(x: Array) -> Array:
        """Scale or zero point, for each element of the data."""
        x = x.astype(np.float32)
        if x.size == 1:
            return x.reshape(())
        axis = node.axis(node.integer("axis", 1), stored.ndim)
        if x.ndim == 1:
            x = x.reshape(-1, *[1] * (stored.ndim - axis - 1))
        block = node.integer("block_size", 0)
        if block:
            x = np.repeat(x, block, axis).take(range(stored.shape[axis]), axis)
        return np.broadcast_to(x, stored.shape)

    real = stored.astype(np.float32)
    if zero_point is not None:
        real = real - wide(zero_point)
    return (real * wide(scale)).astype(scale.dtype)


def dequantized(node: Node, i: int, wanted: QuantAttr) -> SSAValue:
    """Input `i`, stored by the encoding `wanted`, as f32."""
    if node.dtype(i).kind not in "iu":
        raise node.error(f"input {i} must hold integers, not {node.dtype(i).name}")
    array = node.array(i)
    if array is not None:
        op = ConstantOp.from_array(array, node.importer.ctx.constants, encoding=wanted)
        return node.emit(DequantizeOp(node.emit(op)))
    x = node.x(i)
    if quantization(x.type) != wanted:
        x = node.emit(MapOp("identity", [x], element=element_of(x), encoding=wanted))
    return node.emit(DequantizeOp(x))


def _scaled(node: Node, i: int, axis: int, *, last: bool = False) -> tuple[SSAValue, QuantAttr]:
    """Input `i` as f32, with its encoding from inputs i + 1 and i + 2."""
    scale, zero_point = node.static(i + 1, "the scale"), node.static(i + 2, "the zero point")
    found = encoding(
        node, scale, zero_point, node.shape(i), len(node.shape(i)) - 1 if last else axis
    )
    return dequantized(node, i, found), found


def _result(node: Node, real: SSAValue, i: int) -> SSAValue:
    """`real` quantised by inputs `i` (scale) and i + 1 (zero point)."""
    scale, zero_point = node.static(i, "the scale"), node.static(i + 1, "the zero point")
    element = storage(node, node.dtype(i + 1))
    return node.emit(
        QuantizeOp(real, encoding(node, scale, zero_point, shape_of(real), 1), element)
    )


def _computed(node: Node, *scales: int) -> bool:
    """Whether a scale (or the zero point after it) is not known at import."""
    return any(node.array(i) is None or node.array(i + 1) is None for i in scales)


def _requantized(node: Node, total: SSAValue, axis: int) -> SSAValue:
    """An i32 product in units of a_scale * b_scale (inputs 1, 4) as stored by inputs 6 and 7."""
    real = node.cast(total, f32)
    for i in (1, 4):
        scale = node.cast(node.x(i), f32)
        if math.prod(shape_of(scale)) == 1:
            scale = node.reshape(scale, ())
        elif len(shape_of(scale)) == 1:  # one for each row of a, column of b, output channel
            after = len(shape_of(total)) - 1 - (axis if i == 4 else len(shape_of(total)) - 2)
            scale = node.reshape(scale, (*shape_of(scale), *[1] * after))
        real = node.map("mul", real, scale)
    return quantized_by_tensors(node, real, 6, node.dtype(7))


@rule("QLinearConv")
def qlinear_conv(node: Node) -> Value:
    """Quantised convolution; the i32 bias has scale x_scale * w_scale."""
    frame = conv_window(node, node.shape(0), node.shape(3))
    if _computed(node, 1, 4, 6):
        w, zp = node.cast(node.x(3), i32), node.cast(node.x(5), i32)
        ones = [1] * (len(node.shape(3)) - 1)
        w = node.map("sub", w, node.reshape(zp, (math.prod(shape_of(zp)), *ones)))
        bias = node.x(8) if node.has(8) else None
        total = emit_conv(node, centred(node, 0, 2, -1), w, bias, frame)
        return _requantized(node, total, 1)
    x, x_encoding = _scaled(node, 0, 1)
    w, w_encoding = _scaled(node, 3, 0)
    bias = None
    if node.has(8):
        scales = [x_encoding.scale * s for s in w_encoding.scales.get_values()]
        axis = None if len(scales) == 1 else 0
        bias = dequantized(node, 8, QuantAttr.get(scales, [0] * len(scales), axis))
    return _result(node, emit_conv(node, x, w, bias, frame), 6)


@rule("QLinearMatMul")
def qlinear_matmul(node: Node) -> Value:
    """Quantised matrix product."""
    if _computed(node, 1, 4, 6):
        total = product(node, centred(node, 0, 2, -1), centred(node, 3, 5, -2))
        return _requantized(node, total, len(shape_of(total)) - 1)
    if len(node.shape(0)) < 2 or len(node.shape(3)) < 2:
        a, b = (dequantized(node, i, _scaled(node, i, -1)[1]) for i in (0, 3))
        return _result(node, product(node, a, b), 6)
    a, _ = _scaled(node, 0, -2)
    b, _ = _scaled(node, 3, -1, last=True)
    return _result(node, node.emit(MatMulOp(a, b)), 6)
