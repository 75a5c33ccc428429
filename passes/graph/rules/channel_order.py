"""Reorder the channels a convolution makes, so that what splits them need not transpose within.

Channels first, depth-to-space (a pixel shuffle, a transposed convolution) splits channels into
[C, r, r]; channels last, its transpose [N, H, W, C, r, r] -> [N, H, r, W, r, C] moves single
elements.  Channels in the order [r, r, C] leave only rows of C to move:

    %v = graph.conv %x, %w                          %v = graph.conv %x, %w'   (columns reordered)
    %s = graph.reshape %v : [N,H,W,C,r,r]    ->     %s = graph.reshape %v : [N,H,W,r,r,C]
    %t = graph.transpose %s [0,1,4,2,5,3]           %t = graph.transpose %s [0,1,3,2,4,5]

The order is taken back through single-use elementwise operations to a convolution or matmul with
constant weights; values are exactly the same.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import Operation, SSAValue

from ....dialects.constants import Array
from ....dialects.graph import (
    CastOp,
    ConvOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    MatMulOp,
    QuantizeOp,
    RequantizeOp,
    ReshapeOp,
    TransposeOp,
    quantization,
)
from ....dialects.locations import inherit
from ....dialects.types import int_values, shape_of
from .driver import Replacement, Rewriter, Rules
from .layout import encoding_of, permute, transposed

ELEMENTWISE = (MapOp, RequantizeOp, CastOp, QuantizeOp, DequantizeOp, LookupOp)
"""What an order of channels passes through."""

MAX_DEPTH = 16
"""Elementwise operations between the convolution and the reshape."""


def reordered(value: SSAValue, order: Array, ctx: Rewriter) -> list[Operation] | None:
    """Operations that compute `value` (channels last) with channels `order`; None if impossible."""
    chain: list[Operation] = []
    while isinstance(owner := value.owner, ELEMENTWISE) and len(chain) < MAX_DEPTH:
        if not value.has_one_use():
            return None
        chain.append(owner)
        value = owner.operands[0]
    root = value.owner
    if not isinstance(root, ConvOp | MatMulOp) or not value.has_one_use():
        return None
    if isinstance(root, ConvOp) and (root.group.value.data != 1 or root.layout.data != "NHWC"):
        return None
    ops: list[Operation] = []
    operands: list[SSAValue] = [root.operands[0]]
    for operand in root.operands[1:]:  # weights [..., M] and bias [M]
        if (constant := _constant(operand, order, ctx)) is None:
            return None
        ops.append(constant)
        operands.append(constant.results[0])
    ops.append(_copy(root, operands))
    for op in chain[::-1]:
        operands = [ops[-1].results[0]]
        for operand in op.operands[1:]:
            table = isinstance(op, LookupOp) or shape_of(operand)[-1:] in ((), (1,))
            new = None if table else _constant(operand, order, ctx)
            if not table and new is None:
                return None
            if new is not None:
                ops.append(new)
            operands.append(operand if new is None else new.results[0])
        ops.append(_copy(op, operands))
    return ops


def _constant(value: SSAValue, order: Array, ctx: Rewriter) -> Operation | None:
    """A constant with its last axis in `order`."""
    array, encoding = ctx.array(value), quantization(value.type)
    if array is None or array.shape[-1:] != order.shape:
        return None
    if encoding is not None and encoding.axis_index == array.ndim - 1:
        return None
    return ctx.constant(np.ascontiguousarray(array[..., order]), encoding_of(value))


def _copy(op: Operation, operands: list[SSAValue]) -> Operation:
    """`op` on other operands of the same types."""
    new = type(op).create(
        operands=operands,
        result_types=[r.type for r in op.results],
        properties=dict(op.properties),
    )
    return inherit(new, op)


def split_channels(op: TransposeOp, ctx: Rewriter) -> Replacement:
    """A transpose of split channels that ends in a piece of them, but not in the innermost."""
    split = op.x.owner
    perm = int_values(op.perm)
    if not isinstance(split, ReshapeOp) or not op.x.has_one_use() or perm[-1] == len(perm) - 1:
        return None
    source, parts = shape_of(split.x), shape_of(op.x)
    lead = len(source) - 1
    if lead < 1 or parts[:lead] != source[:-1] or math.prod(parts[lead:]) != source[-1]:
        return None
    pieces = [p for p in perm if p >= lead]  # in the order of the result
    if perm[-1] < lead or pieces == sorted(pieces) or quantization_axis(split.x):
        return None
    order = np.arange(source[-1]).reshape(parts[lead:]).transpose([p - lead for p in pieces])
    order = order.reshape(-1)
    ops: list[Operation] = []
    if (order != np.arange(order.size)).any():
        found = reordered(split.x, order, ctx)
        if found is None:
            return None
        ops = found
    axes = [*range(lead), *pieces]
    value = ops[-1].results[0] if ops else split.x
    reshaped = inherit(ReshapeOp(value, permute(parts, axes)), split)
    return [*ops, reshaped, transposed(reshaped.results[0], [axes.index(p) for p in perm])]


def quantization_axis(value: SSAValue) -> bool:
    """Whether `value` is quantised along an axis."""
    encoding = quantization(value.type)
    return encoding is not None and encoding.axis_index is not None


RULES: Rules = {TransposeOp: (split_channels,)}
"""All rules of this family."""
