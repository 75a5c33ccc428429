"""Per-channel scale and offset of a tensor to be quantised, as a depthwise 1 x 1 convolution.

    (x * s[1, C, 1, 1]) + b[1, C, 1, 1]   ==>   conv(x, s[C, 1, 1, 1], b[C], group = C)

What is left of a batch normalisation that no convolution precedes, or the slopes of a parametric
ReLU.  Weights have a scale per channel, so `s` keeps its precision, where a quantised constant
operand would have one scale for all channels; and scale, offset and a ReLU after them round once.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, ConvOp, MapOp, constant_array, is_map
from ...dialects.types import shape_of
from ..rewriting import erase_dead, replace
from .quantization_plan import Plan, single_user


def _per_channel(op: MapOp, store: ConstantStore) -> tuple[SSAValue, Array] | None:
    """(tensor, one value per channel) of an operation with a constant [1, C, 1, 1] operand."""
    if len(op.args) != 2:
        return None
    for data, other in ((op.args[0], op.args[1]), (op.args[1], op.args[0])):
        array, shape = constant_array(other, store), shape_of(data)
        if (
            array is None
            or len(shape) != 4
            or shape_of(op.result) != shape
            or (data is op.args[1] and op.fn.data == "sub")
        ):
            continue
        padded = (1,) * (4 - array.ndim) + array.shape
        if padded == (1, shape[1], 1, 1) and np.isfinite(array).all():
            return data, array.reshape(-1)
    return None


def fuse_channel_affine(plan: Plan, store: ConstantStore) -> bool:
    """Rewrite the quantised ones among the operations of `plan`; whether there were any."""
    done: set[MapOp] = set()
    for op, kind in plan.kinds.items():
        if (
            kind != "accumulate"
            or not isinstance(op, MapOp)
            or op in done
            or op in plan.norms
            or (found := _per_channel(op, store)) is None
        ):
            continue
        data, values = found
        channels, last, inner = len(values), op, list[MapOp]()
        scale = values if op.fn.data == "mul" else np.ones(channels, np.float32)
        offset = {"mul": None, "add": values, "sub": -values}[op.fn.data]
        user = single_user(op.result)
        if op.fn.data == "mul" and isinstance(user, MapOp) and is_map(user, "add", "sub"):
            following = _per_channel(user, store)
            if following is not None and following[0] is op.result:
                offset, last, inner = (
                    following[1] * (1 if user.fn.data == "add" else -1),
                    user,
                    [op],
                )
                done.add(user)
        constants = [
            ConstantOp.from_array(scale.reshape(channels, 1, 1, 1).astype(np.float32), store)
        ]
        if offset is not None:
            constants.append(ConstantOp.from_array(offset.astype(np.float32), store))
        conv = ConvOp(
            data,
            *(c.result for c in constants),
            strides=[1, 1],
            pads=[0] * 4,
            dilations=[1, 1],
            group=channels,
        )
        replace(last, [*constants, conv])
        erase_dead(inner)
        done.add(op)
    return bool(done)
