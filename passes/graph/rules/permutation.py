"""Channel permutations of 8-bit activations as 1x1 convolutions, for the matrix unit.

    %a = graph.reshape %x : [1, H, W, C] -> [1, H, W, 2, C/2]
    %b = graph.transpose %a {perm = [0, 1, 2, 4, 3]}                ->   %c = graph.conv %x, %p
    %y = graph.reshape %b : [1, H, W, C/2, 2] -> [1, H, W, C]            %y = graph.requantize %c

An NPU moves rows of channels, and would need one transfer a byte to reorder within them (a channel
shuffle); its matrix unit does it exactly: %p is a permutation matrix of ones, the accumulator is
the stored value, and requantising by 2^30 / 2^30 returns it.  C^2 multiplications a pixel are far
less than a round trip to the CPU.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i8

from ....dialects.graph import ConvOp, RequantizeOp, ReshapeOp, TransposeOp, device_of
from ....dialects.locations import inherit
from ....dialects.types import element_of, int_values, integer, shape_of
from .driver import Replacement, Rewriter, Rules

MAX_CHANNELS = 2048
"""Channels up to which a permutation matrix is made (4 MB)."""


def on_matrix_unit(op: ReshapeOp, ctx: Rewriter) -> Replacement:
    """The last operation of a channel permutation placed on the NPU."""
    moved = op.x.owner
    if not isinstance(moved, TransposeOp) or device_of(moved) != "npu" or not op.x.has_one_use():
        return None
    split = moved.x.owner
    if not isinstance(split, ReshapeOp) or not moved.x.has_one_use():
        return None
    shape, parts, perm = shape_of(split.x), shape_of(moved.x), int_values(moved.perm)
    lead = len(shape) - 1
    if lead < 2 or shape != shape_of(op.result) or parts[:lead] != shape[:-1]:
        return None
    if perm[:lead] != tuple(range(lead)) or split.x.type != op.result.type:
        return None
    channels = shape[-1]
    if element_of(split.x) != i8 or channels > MAX_CHANNELS:
        return None
    order = np.arange(channels).reshape(parts[lead:]).transpose([p - lead for p in perm[lead:]])
    matrix = np.zeros((*[1] * (lead - 1), channels, channels), np.int8)
    matrix[..., order.reshape(-1), np.arange(channels)] = 1
    n = lead - 1
    weights = ctx.constant(matrix)
    conv = ConvOp(
        split.x, weights.result, strides=[1] * n, pads=[0] * 2 * n, dilations=[1] * n, layout="NHWC"
    )
    multiplier = ctx.constant(np.asarray([1 << 30], np.int32))
    shift = ctx.constant(np.asarray([30], np.int32))
    stored = RequantizeOp.create(
        operands=[conv.result, multiplier.result, shift.result],
        result_types=[op.result.type],
        properties={"zp": integer(0), "lo": integer(-128), "hi": integer(127)},
    )
    return [weights, inherit(conv, split, moved), multiplier, shift, stored]


RULES: Rules = {ReshapeOp: (on_matrix_unit,)}
"""All rules of this family."""
