"""Products that are geometry rather than layers, and therefore stay real.

Rotations of coordinates, distances between points and angles of position encodings are products of
two computed tensors with very few terms; 8 bits would spoil them.  Everything with constant
weights, and everything longer, is a layer or a product of attention.

The extents that decide may be open in the model.  Where it is compiled for other shapes with ranges
known from before, the same products stay real as when it was calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from xdsl.dialects.builtin import UnitAttr
from xdsl.ir import Operation, SSAValue

from ...dialects.graph import ConvOp, MatMulOp
from ...dialects.types import shape_of
from ..base import CompilerContext

LARGEST_COORDINATES = 4
"""Length of vectors that may be points."""

REAL = "real"
"""Discardable attribute of products that stay real."""


def is_short(op: Operation) -> bool:
    """Whether `op` is a product as short as those of coordinates."""
    if isinstance(op, ConvOp):
        return math.prod(shape_of(op.w)) // max(1, op.out_channels) <= LARGEST_COORDINATES
    if isinstance(op, MatMulOp):
        (m, k), n = shape_of(op.a)[-2:], shape_of(op.b)[-1]
        return k < LARGEST_COORDINATES or (k == LARGEST_COORDINATES and min(m, n) <= k)
    return False


def mark_geometry(products: Iterable[tuple[SSAValue, str]], ctx: CompilerContext) -> None:
    """Mark those of `products` (results, with names) of two computed tensors that stay real."""
    for value, name in products:
        key, op = f"{name}: geometry", value.owner
        assert isinstance(op, Operation)
        if is_short(op) if ctx.calibration is not None else key in ctx.ranges:
            op.attributes[REAL] = UnitAttr()
            ctx.ranges[key] = (0.0, 0.0)
