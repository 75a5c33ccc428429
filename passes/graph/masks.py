"""Softmax of masked scores: ranges that spend 8 bits on what the softmax sees.

    select(mask, scores, -inf)   ==>   add(scores, select(mask, 0, -inf))
    softmax(add(scores, mask))         encoded from the least maximum of a row, less 12, upwards

What lies `DEPTH` below the maximum of its row has no part in the result, so the operand of a
softmax saturates there, and masks of -inf or -3.4e38 become numbers just large enough for that.
(A row that is masked altogether has no meaning, and another result than in real arithmetic.)
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, MapOp, SoftmaxOp, constant_array, is_map
from ...dialects.types import element_of
from ..rewriting import replace
from .calibration import Range
from .quantization_plan import MASKED, Plan, is_constant, single_user

DEPTH = 12.0
"""exp(-12) is 6e-6: even a thousand of them are invisible in steps of 1/256."""


def add_masks(block: Block, store: ConstantStore) -> None:
    """Turn selections between scores and a very negative number into additions."""
    for op in list(block.ops):
        if (
            not isinstance(op, MapOp)
            or not is_map(op, "select")
            or element_of(op.result) != f32
            or not isinstance(single_user(op.result), SoftmaxOp)
        ):
            continue
        condition, *choices = op.args
        for i, choice in enumerate(choices):
            array = constant_array(choice, store)
            if array is not None and array.size == 1 and array.item() <= MASKED:
                zero = ConstantOp.from_array(np.zeros(array.shape, np.float32), store)
                other = [zero.result, choice] if i == 1 else [choice, zero.result]
                mask = MapOp("select", [condition, *other])
                new = MapOp("add", [choices[1 - i], mask.result])
                if new.result.type == op.result.type:
                    replace(op, [zero, mask, new])
                break


class RowMaximum:
    """Least and greatest maximum of a row along `axis`."""

    def __init__(self, axis: int) -> None:
        self.axis, self.low, self.high = axis, math.inf, -math.inf

    def update(self, array: Array) -> None:
        """Fold in one more value of the tensor."""
        top = array.max(axis=self.axis)
        if (top := top[np.isfinite(top) & (top > MASKED)]).size:
            self.low, self.high = min(self.low, float(top.min())), max(self.high, float(top.max()))


def row_maxima(plan: Plan) -> dict[SSAValue, RowMaximum]:
    """Statistics to collect: of each operand of a quantised softmax that nothing else reads."""
    return {
        op.x: RowMaximum(op.axis.value.data)
        for op in plan.kinds
        if isinstance(op, SoftmaxOp) and single_user(op.x) is op
    }


def narrow(plan: Plan, ranges: dict[SSAValue, Range], rows: dict[SSAValue, RowMaximum]) -> None:
    """Adjust `ranges` and `plan.floors` to the rules above."""
    needed: dict[SSAValue, float] = {}
    for value, row in rows.items():
        owner = value.owner
        if row.low > row.high or value not in ranges or not isinstance(owner, Operation):
            continue
        low = row.low - DEPTH
        if owner not in plan.masked:
            ranges[value] = (max(low, ranges[value][0]), ranges[value][1])
            continue
        ranges[value] = (low, row.high)
        scores, mask = plan.masked[owner]
        most = ranges[scores][1] if scores in ranges else row.high
        floor = min(low, 0.0) - max(most, 0.0)
        plan.floors[owner] = floor
        if not is_constant(mask):
            needed[mask] = min(floor, needed.get(mask, 0.0))
    for mask, floor in needed.items():
        if all(op in plan.masked for op, _ in plan.demanded.get(mask, [])):
            ranges[mask] = (floor, max(ranges[mask][1], 0.0))
