"""Moving transposes: permutations, and operands brought to another order of axes.

A permutation `perm` stands for `graph.transpose`: result axis i is operand axis perm[i].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from ....dialects.graph import ConstantOp, QuantAttr, ReshapeOp, TransposeOp, quantization
from ....dialects.types import int_values, shape_of, tensor, type_of
from .driver import Rewriter
from .movement import moves_only_ones

CONSTANT_LIMIT = 1 << 20
"""Elements up to which constant operands are transposed at compile time."""

Perm = tuple[int, ...]


def to_last(rank: int) -> Perm:
    """Channels first to channels last."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> Perm:
    """Channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes `perm`."""
    out = [0] * len(perm)
    for i, p in enumerate(perm):
        out[p] = i
    return tuple(out)


def permute(values: Sequence[int], perm: Sequence[int]) -> list[int]:
    """`values` in the order of the transposed axes."""
    return [values[p] for p in perm]


def permuted_encoding(encoding: QuantAttr | None, perm: Sequence[int]) -> QuantAttr | None:
    """The encoding of the transposed tensor: its axis moves along."""
    if encoding is None or encoding.axis_index is None:
        return encoding
    scales = [float(s) for s in encoding.scales.get_values()]
    axis = list(perm).index(encoding.axis_index)
    return QuantAttr.get(scales, int_values(encoding.zero_points), axis)


def permuted_type(type: Attribute, perm: Sequence[int]) -> TensorType[Attribute]:
    """The type of the transposed tensor."""
    encoding = permuted_encoding(quantization(type), perm)
    whole = cast(TensorType[Attribute], type)
    return tensor(permute(whole.get_shape(), perm), whole.element_type, encoding)


def encoding_of(value: SSAValue) -> Attribute:
    """The encoding of a tensor's type (`none` where it has none)."""
    return type_of(value).encoding


def transposed(x: SSAValue, perm: Sequence[int]) -> TransposeOp:
    """`graph.transpose`, with the axis of a quantisation encoding moved along."""
    op = TransposeOp(x, perm)
    encoding = quantization(x.type)
    if encoding is not None and encoding.axis_index is not None:
        op = TransposeOp.create(
            operands=[x], properties=op.properties, result_types=[permuted_type(x.type, perm)]
        )
    return op


class Operand:
    """An operand that must be read in the inverse order of a transpose that is to move down.

    If the result is `transpose(f(...), perm)`, the operand v of the old f becomes
    `transpose(v, inverse(perm))`, broadcast to `rank` axes.  `ops` and `value` compute that;
    `cost` is the number of elements moved for it at run time, `saved` those no longer moved.
    """

    def __init__(self, value: SSAValue, perm: Perm, ctx: Rewriter):
        self.ops: list[Operation] = []
        self.value, self.cost, self.saved = value, 0, 0
        shape, rank, undo = shape_of(value), len(perm), inverse(perm)
        source = value.owner
        if isinstance(source, TransposeOp) and int_values(source.perm) == perm:
            self.value, self.saved = source.x, math.prod(shape)
            return
        if math.prod(shape) == 1 and len(shape) <= 1:
            return
        full = (*[1] * (rank - len(shape)), *shape)
        new_shape = permute(full, undo)
        if isinstance(source, ConstantOp) and math.prod(shape) <= CONSTANT_LIMIT:
            array = source.array(ctx.constants).reshape(full).transpose(undo)
            lead = next((i for i, d in enumerate(new_shape) if d != 1), rank - 1)
            self._add(ctx.constant(np.ascontiguousarray(array).reshape(new_shape[lead:])))
            return
        if moves_only_ones(undo, full):
            if tuple(new_shape) != shape:
                self._add(ReshapeOp(value, new_shape))
            return
        if full != shape:
            self._add(ReshapeOp(value, full))
        self._add(transposed(self.value, undo))
        self.cost = math.prod(shape)

    def _add(self, op: Operation) -> None:
        self.ops.append(op)
        self.value = op.results[0]


def regroup(
    source: Sequence[int], target: Sequence[int]
) -> list[tuple[list[int], list[int]]] | None:
    """Axes of a reshape in groups: (axes of source, axes of target) of equal products, in order.

    Groups are as small as possible; axes of extent 1 join a neighbouring group.  None if an extent
    is 0.
    """
    if 0 in source or 0 in target:
        return None
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        a, b = [i] if i < len(source) else [], [j] if j < len(target) else []
        left, right = math.prod(source[x] for x in a), math.prod(target[x] for x in b)
        i, j = i + len(a), j + len(b)
        if a and b and left != right and 1 in (left, right):
            # an axis of extent 1 alone on one side
            if left == 1:
                j, b, right = j - 1, [], 1
            else:
                i, a, left = i - 1, [], 1
        while left != right:
            if left < right:
                left, a, i = left * source[i], [*a, i], i + 1
            else:
                right, b, j = right * target[j], [*b, j], j + 1
        groups.append((a, b))
    return groups
