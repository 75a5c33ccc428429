"""Pads folded into the windows of convolutions and poolings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....dialects.graph import ConvOp, PadOp, PoolOp, spatial_axes
from ....dialects.types import int_values, integer, ints
from .driver import Replacement, Rewriter, Rules


def spatial_amounts(pad: PadOp, layout: str) -> list[int] | None:
    """All begins, then all ends, of a pad of non-negative amounts on spatial axes alone."""
    low, high = int_values(pad.low), int_values(pad.high)
    axes = spatial_axes(len(low), layout)
    if pad.mode.data != "constant" or min(*low, *high) < 0:
        return None
    if any(low[a] or high[a] for a in range(len(low)) if a not in axes):
        return None
    return [*(low[a] for a in axes), *(high[a] for a in axes)]


def total(pads: Sequence[int], amounts: Sequence[int]) -> list[int]:
    """Elementwise sum."""
    return [a + b for a, b in zip(pads, amounts, strict=True)]


def pad_into_conv(op: ConvOp, ctx: Rewriter) -> Replacement:
    """conv(pad(x, zero point)) pads by itself."""
    pad = op.x.owner
    if not isinstance(pad, PadOp) or pad.value.value.data != op.x_zp.value.data:
        return None
    amounts = spatial_amounts(pad, op.layout.data)
    if amounts is None or min(int_values(op.pads)) < 0:
        return None
    new = ConvOp.create(
        operands=[pad.x, *op.operands[1:]],
        result_types=[op.result.type],
        properties={**op.properties, "pads": ints(total(int_values(op.pads), amounts))},
    )
    return [new]


def pad_into_pool(op: PoolOp, ctx: Rewriter) -> Replacement:
    """Max of -inf, a sum or an average of zeros: the pool pads by itself.

    An average counts the padded elements, so it must count its own padding too, or have none.
    """
    pad = op.x.owner
    if not isinstance(pad, PadOp):
        return None
    kind, value, pads = op.kind.data, pad.value.value.data, int_values(op.pads)
    amounts, properties = spatial_amounts(pad, op.layout.data), dict(op.properties)
    if amounts is None or min(pads) < 0:
        return None
    if kind == "max":
        neutral = -math.inf
    else:
        neutral = float(op.x_zp.value.data)
        ceil = any(int_values(op.ceil_pads))
        if kind == "average" and not op.count_include_pad.value.data:
            if any(pads) or ceil:
                return None
            properties["count_include_pad"] = integer(1)
    if value != neutral:
        return None
    properties["pads"] = ints(total(pads, amounts))
    return [PoolOp.create(operands=[pad.x], result_types=[op.result.type], properties=properties)]


RULES: Rules = {ConvOp: (pad_into_conv,), PoolOp: (pad_into_pool,)}
"""All padding rules."""
