"""Data movement: operations that only place elements, or pick one of them by order.

They mean the same on stored 8-bit values as on real values, because quantisation is elementwise
and monotone: transpose, reshape, broadcast, slice, concat, pad, gather, nearest resize, and the
choice of a maximum or minimum (max-pool, reduce max/min).  Padding with a constant pads with its
stored value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.dialects.builtin import i8
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects.graph import (
    BroadcastOp,
    ConcatOp,
    GatherOp,
    PadOp,
    PoolOp,
    QuantAttr,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    TransposeOp,
)
from ...dialects.locations import inherit
from ...dialects.types import int_values, real, shape_of, tensor
from .encodings import dequantize_array, quantize_array


def is_movement(op: Operation) -> bool:
    """Whether `op` places or picks elements without computing on them."""
    match op:
        case TransposeOp() | ReshapeOp() | BroadcastOp() | ConcatOp() | SliceOp() | GatherOp():
            return True
        case PadOp():
            return op.mode.data != "constant" or math.isfinite(op.value.value.data)
        case PoolOp():
            return op.kind.data == "max"
        case ReduceOp():
            return op.kind.data in ("max", "min")
        case ResizeOp():
            return op.mode.data == "nearest"
        case _:
            return False


def moved_operands(op: Operation) -> Sequence[SSAValue]:
    """The operands of a movement whose elements it moves (not the indices of a gather)."""
    return op.operands[:1] if isinstance(op, GatherOp) else op.operands


def pad_constant(op: Operation) -> float | None:
    """The real value a constant `graph.pad` fills in; None for any other operation."""
    return op.value.value.data if isinstance(op, PadOp) and op.mode.data == "constant" else None


def represents(encoding: QuantAttr, value: float) -> bool:
    """Whether per-tensor `encoding` expresses real `value` exactly."""
    return float(dequantize_array(quantize_array(value, encoding), encoding)) == value


def moved_encoding(op: Operation, encoding: QuantAttr) -> QuantAttr | None:
    """Encoding of what movement `op` makes of operands of `encoding`; None if there is none."""
    if (axis := encoding.axis_index) is None:
        return encoding
    if isinstance(op, TransposeOp):
        scales = [float(s) for s in encoding.scales.get_values()]
        return QuantAttr.get(
            scales, int_values(encoding.zero_points), int_values(op.perm).index(axis)
        )
    return None


def on_stored(
    op: Operation, operands: Sequence[SSAValue], encoding: QuantAttr, element: Attribute = i8
) -> Operation:
    """Movement `op` on stored values: `operands` replace the moved ones; result in `encoding`."""
    rest = op.operands[len(operands) :]
    properties = dict(op.properties)
    if (value := pad_constant(op)) is not None:
        properties["value"] = real(float(quantize_array(value, encoding, element)))
    new = type(op).create(
        operands=[*operands, *rest],
        result_types=[tensor(shape_of(op.results[0]), element, encoding)],
        properties=properties,
    )
    inherit(new, op)
    return new
