"""Slices behind reshapes, where what reads them reads a box of what there was before the slice.

%s = graph.slice %x [0, 768] [197, 768]          %r = graph.reshape %x : 197x36x64
%r = graph.reshape %s : 197x12x64          ->    %s = graph.slice %r [0, 12, 0] [197, 12, 64]
"""

from __future__ import annotations

from ....dialects.graph import ReshapeOp, SliceOp, quantization
from ....dialects.types import int_values, shape_of
from .driver import Replacement, Rewriter, Rules
from .layout import regroup


def reshape_of_slice(op: ReshapeOp, ctx: Rewriter) -> Replacement:
    """A reshape that splits an axis of which a slice takes whole parts: split, then slice.

    [197, 2304][:, 768:1536] as [197, 12, 64] is [197, 36, 64][:, 12:24], a box of what there was.
    """
    inner = op.x.owner
    if not isinstance(inner, SliceOp) or not inner.result.has_one_use():
        return None
    encoding = quantization(op.x.type)
    if set(int_values(inner.steps)) != {1} or (encoding and encoding.axis_index is not None):
        return None
    before, shape, target = shape_of(inner.x), shape_of(op.x), shape_of(op.result)
    starts, sizes, extents = [0] * len(target), list(target), list(target)
    for old, new in regroup(shape, target) or ():
        cut = [a for a in old if shape[a] != before[a]]
        if not cut:
            continue
        first = next((b for b in new if target[b] > 1), None)
        if first is None or len(cut) > 1 or [a for a in old if shape[a] > 1] != cut:
            return None
        start, rest = int_values(inner.starts)[cut[0]], shape[cut[0]] // target[first]
        if start % rest or before[cut[0]] % rest:
            return None
        starts[first], extents[first] = start // rest, before[cut[0]] // rest
    if extents == list(target):
        return None
    split = ReshapeOp(inner.x, extents)
    return [split, SliceOp(split.result, starts, sizes)]


RULES: Rules = {ReshapeOp: (reshape_of_slice,)}
"""All rules of this family."""
