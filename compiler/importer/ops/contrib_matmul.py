"""onnxruntime's matrix products of integers and of packed weights (domain `com.microsoft`).

Weights of 2, 4 or 8 bits in blocks (`MatMulNBits`) are dequantised here, once:

    B'[n, k] = (B[n, k] - zero point[n, k / block]) * scale[n, k / block]

Dynamically quantised products compute in i32 and scale the result, as onnxruntime does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, MatMulOp, ReduceOp
from ....dialects.types import element_of, shape_of, ui8
from ..node import Node, Value, rule
from .contrib_attention import self_attention
from .contrib_transformers import DOMAIN
from .matmul import centred, product


def unpacked(packed: Array, bits: int) -> Array:
    """Codes of `bits` bits along the last axis of bytes, the lowest first."""
    if bits == 8:
        return packed
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], packed.shape[-1] * len(parts))


@rule(DOMAIN + "MatMulNBits")
def matmul_nbits(node: Node) -> Value:
    """A B' + bias with B [N, K] in blocks of few bits along K."""
    rows, columns = node.integer("N"), node.integer("K")
    bits, block = node.integer("bits", 4), node.integer("block_size")
    if bits not in (2, 4, 8) or block < 1:
        raise node.unsupported(f"{bits} bits in blocks of {block}", "use 2, 4 or 8 bits")
    blocks = -(-columns // block)
    node.bounded(rows * blocks * block)
    packed = node.static(1, "its packed weights")
    scales = node.static(2, "its scales")
    if packed.size != rows * blocks * block * bits // 8 or scales.size != rows * blocks:
        raise node.error(
            f"weights of shape {list(packed.shape)} and {scales.size} scales do not fit "
            f"{rows} x {columns} in blocks of {block}"
        )
    codes = unpacked(packed.reshape(rows, -1).view(np.uint8), bits).astype(np.float32)
    zero = np.full((rows, blocks), float(1 << (bits - 1)), np.float32)
    if node.has(3):
        given = node.static(3, "its zero points")
        if given.dtype == np.uint8:
            given = unpacked(given.reshape(rows, -1), bits)[:, :blocks]
        zero = given.astype(np.float32).reshape(rows, blocks)
    scales = scales.astype(np.float32).reshape(rows, blocks)
    if node.has(4):  # the block of each column
        group = node.static(4, "g_idx").astype(np.int64)[:columns]
        real = (codes[:, :columns] - zero[:, group]) * scales[:, group]
    else:
        split = codes.reshape(rows, blocks, block)
        real = ((split - zero[..., None]) * scales[..., None]).reshape(rows, -1)[:, :columns]
    weights = np.ascontiguousarray(real.T.astype(node.dtype(0)))
    return product_and_bias(node, node.x(0), node.constant(weights), 5)


def product_and_bias(node: Node, a: SSAValue, b: SSAValue, bias: int) -> SSAValue:
    """A B, plus input `bias` if it is given."""
    y = product(node, a, b)
    return node.map("add", y, node.x(bias)) if node.has(bias) else y


@rule(DOMAIN + "GatherBlockQuantized")
def gather_block_quantized(node: Node) -> Value:
    """Rows of a constant table of few bits in blocks along its last axis."""
    table, scales = node.static(0, "its table"), node.static(2, "its scales")
    bits, block = node.integer("bits", 4), node.integer("block_size", 128)
    rank = table.ndim
    axis = node.axis(node.integer("quantize_axis", 1), rank)
    if table.dtype != np.uint8 or axis != rank - 1:
        raise node.unsupported(
            f"a table of {table.dtype.name} in blocks along axis {axis}", "pack it as uint8"
        )
    codes = unpacked(table, bits).astype(np.float32)
    node.bounded(codes.size)
    zero = np.full(scales.shape, float(1 << (bits - 1)), np.float32)
    if node.has(3):
        zero = unpacked(node.static(3, "its zero points"), bits)[..., : scales.shape[-1]]
        zero = zero.astype(np.float32)
    wide = [np.repeat(x, block, -1)[..., : codes.shape[-1]] for x in (zero, scales)]
    real = ((codes - wide[0]) * wide[1].astype(np.float32)).astype(scales.dtype)
    gathered = node.axis(node.integer("gather_axis", 0), rank)
    return node.emit(GatherOp(node.constant(real), node.x(1), gathered))


def scaled(node: Node, total: SSAValue, scales: Sequence[SSAValue], bias: int) -> SSAValue:
    """An i32 product in real numbers: times all `scales`, plus input `bias`."""
    scale = scales[0]
    for other in scales[1:]:
        scale = node.map("mul", scale, other)
    if math.prod(shape_of(scale)) == 1:
        scale = node.reshape(scale, ())
    real = node.cast(total, element_of(scale))
    y = node.map("mul", real, scale)
    return node.map("add", y, node.x(bias)) if node.has(bias) else y


@rule(DOMAIN + "MatMulIntegerToFloat")
def matmul_integer_to_float(node: Node) -> Value:
    """(A - a_zero)(B - b_zero) a_scale b_scale + bias."""
    total = product(node, centred(node, 0, 4, -1), centred(node, 1, 5, -2))
    return scaled(node, total, [node.x(2), node.x(3)], 6)


@rule(DOMAIN + "DynamicQuantizeMatMul")
def dynamic_quantize_matmul(node: Node) -> Value:
    """A, quantised to u8 by its own range, times quantised weights."""
    stored, scale, zero = quantised_by_range(node, node.x(0))
    a = node.map("sub", node.cast(stored, i32), node.cast(zero, i32))
    total = product(node, a, centred(node, 1, 3, -2))
    return scaled(node, total, [scale, node.x(2)], 4)


def quantised_by_range(node: Node, x: SSAValue) -> tuple[SSAValue, SSAValue, SSAValue]:
    """(u8 values, scale, u8 zero point) of x, by its least and greatest element and 0."""
    axes = list(range(len(shape_of(x))))
    zero = node.scalar(0, x)
    low = node.map("minimum", node.emit(ReduceOp(x, "min", axes, 0)), zero)
    high = node.map("maximum", node.emit(ReduceOp(x, "max", axes, 0)), zero)
    width = node.map("sub", high, low)
    scale = node.map("div", width, node.scalar(255, x))
    none = node.map("equal", width, zero)
    scale = node.map("select", none, node.scalar(1, x), scale)
    point = node.map("round", node.map("div", node.map("sub", zero, low), scale))
    point = node.map("clip", point, min=0.0, max=255.0)
    steps = node.map("add", node.map("round", node.map("div", x, scale)), point)
    stored = node.cast(node.map("clip", steps, min=0.0, max=255.0), ui8)
    return stored, scale, node.cast(point, ui8)


@rule(DOMAIN + "QAttention")
def qattention(node: Node) -> list[Value]:
    """Attention whose projection is an integer product."""
    if node.integer("do_rotary", 0) or node.integer("past_present_share_buffer", 0):
        raise node.unsupported("rotary embedding or a shared cache", "export without it")
    total = node.emit(MatMulOp(centred(node, 0, 6, -1), centred(node, 1, 7, -2)))
    scales = [node.cast(node.x(i), f32) for i in (3, 4)]
    return self_attention(node, scaled(node, total, scales, 2), 5, 8, 99)
