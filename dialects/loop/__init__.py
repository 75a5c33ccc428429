"""The loop dialect: how it is computed.

`nest` holds structured loop nests over linear access maps, `scalars` what their bodies and
epilogues are made of, `structure` tile loops, buffers and tile copies; `maps` is the plain-data
algebra of access maps.  A program is in tensor form (nests have results) until bufferisation, in
memref form after.
"""

from __future__ import annotations

from xdsl.ir import Dialect

from .maps import Linear, row_major_strides
from .nest import NestOp, captured, fill_attr, fill_value, reduce_identity
from .scalars import ApplyOp, ExtractOp, IndexOp, ScalarConstantOp, ScalarYieldOp
from .structure import (
    SPACES,
    AllocOp,
    ConcatOp,
    CopyOp,
    DecodeOp,
    FillOp,
    ForOp,
    GlobalOp,
    ReshapeOp,
    space_of,
)
from .subview import BroadcastOp, SubviewOp

LOOP = Dialect(
    "loop",
    [
        NestOp,
        ScalarYieldOp,
        ApplyOp,
        ScalarConstantOp,
        IndexOp,
        ExtractOp,
        ForOp,
        AllocOp,
        GlobalOp,
        ReshapeOp,
        ConcatOp,
        FillOp,
        CopyOp,
        DecodeOp,
        SubviewOp,
        BroadcastOp,
    ],
    [],
)

__all__ = [
    "LOOP", "SPACES", "AllocOp", "ApplyOp", "BroadcastOp", "ConcatOp", "CopyOp", "DecodeOp",
    "ExtractOp", "FillOp", "ForOp", "GlobalOp", "IndexOp", "Linear", "NestOp", "ReshapeOp",
    "ScalarConstantOp", "ScalarYieldOp", "SubviewOp", "captured", "fill_attr", "fill_value",
    "reduce_identity", "row_major_strides", "space_of",
]  # fmt: skip
