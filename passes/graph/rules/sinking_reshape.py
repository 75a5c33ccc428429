"""Transposes past reshapes, and into the weights of a matmul behind a flattening.

Channels first, a channel shuffle is reshape [N, g, C/g, H, W], transpose, reshape [N, C, H, W].
Pushing the layout change through the first reshape gives [N, H, W, g, C/g]; the second must merge
C/g and g, which are together in x but in the other order: that order alone is transposed.
"""

from __future__ import annotations

import math

import numpy as np

from ....dialects.graph import MatMulOp, ReshapeOp, TransposeOp, quantization
from ....dialects.locations import inherit
from ....dialects.types import int_values, shape_of
from .driver import Replacement, Rewriter, Rules
from .layout import encoding_of, inverse, permute, regroup, to_first, transposed
from .movement import is_identity

ROW = 16
"""Elements from which on it matters that they stay side by side: about what DMAs move at once."""


def through_reshape(op: ReshapeOp, ctx: Rewriter) -> Replacement:
    """reshape(transpose x) = transpose(reshape(local transpose x))."""
    source = op.x.owner
    if not isinstance(source, TransposeOp):
        return None
    encoding = quantization(op.x.type)
    if encoding is not None and encoding.axis_index is not None:
        return None
    perm, shape, target = int_values(source.perm), shape_of(op.x), shape_of(op.result)
    groups = regroup(shape, target)
    if groups is None:
        return None

    # The groups in the order in which x holds them: by their first axis longer than 1.
    def position(g: int) -> int:
        axes = [perm[i] for i in groups[g][0] if shape[i] != 1]
        return min(axes, default=-1)

    by_place = sorted((g for g in range(len(groups)) if position(g) >= 0), key=position)
    for g in range(len(groups)):  # groups of extent 1 stay behind their neighbour
        if position(g) < 0:
            by_place.insert(by_place.index(g - 1) + 1 if g else 0, g)
    local = [perm[i] for g in by_place for i in groups[g][0]]
    middle = [j for g in by_place for j in groups[g][1]]
    outer = tuple(middle.index(j) for j in range(len(target)))
    in_place = [p for p in local if shape_of(source.x)[p] != 1]
    moved = in_place != sorted(in_place)
    if moved and (outer != to_first(len(target)) or len(target) < 3):
        return None
    if moved and local == list(perm):
        return None
    if moved and perm[-1] == len(perm) - 1 != local[-1] and shape[-1] >= ROW:
        return None  # it moves rows as they are, the local one would not
    start = transposed(source.x, local) if moved else None
    reshaped = ReshapeOp(start.result if start else source.x, permute(target, inverse(outer)))
    first = [start, reshaped] if start else [reshaped]
    if is_identity(outer):
        return first
    return [*first, transposed(inherit(reshaped, op).results[0], outer)]


def into_matmul(op: MatMulOp, ctx: Rewriter) -> Replacement:
    """matmul(reshape(transpose x) : [N, K], w) = matmul(reshape x, w with its rows permuted)."""
    flat = op.a.owner
    if not isinstance(flat, ReshapeOp) or not isinstance(flat.x.owner, TransposeOp):
        return None
    source, weights = flat.x.owner, ctx.array(op.b)
    perm, shape, target = int_values(source.perm), shape_of(flat.x), shape_of(flat.result)
    if weights is None or weights.ndim != 2 or len(target) != 2 or perm[0] != 0:
        return None
    if shape[0] != target[0] or math.prod(shape[1:]) != target[1]:
        return None
    undo = inverse(perm)
    rows = weights.reshape(*shape[1:], weights.shape[1])
    order = [*(p - 1 for p in undo[1:]), len(shape) - 1]
    quant = quantization(op.b.type)
    if quant is not None and quant.axis_index == 0:
        return None
    new_weights = np.ascontiguousarray(rows.transpose(order)).reshape(weights.shape)
    constant = ctx.constant(new_weights, encoding_of(op.b))
    x = ReshapeOp(source.x, target)
    new = MatMulOp.create(
        operands=[x.result, constant.result, *op.operands[2:]],
        result_types=[op.result.type],
        properties=op.properties,
    )
    return [inherit(x, flat), constant, new]


RULES: Rules = {ReshapeOp: (through_reshape,), MatMulOp: (into_matmul,)}
"""All rules of this family."""
