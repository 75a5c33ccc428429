"""The table from operation class to meaning, and the smallest operations themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xdsl.ir import Operation

from ... import scalar
from ...constants import Array, ConstantStore
from ...graph import (
    ArgReduceOp,
    BatchNormOp,
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    ConvOp,
    CustomOp,
    DequantizeOp,
    GatherOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PadOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QNormOp,
    QSoftmaxOp,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
)
from ...types import element_of, numpy_dtype
from . import custom, nn, quant, resize, rows, shape, windows

Handler = Callable[[Any, Sequence[Array], ConstantStore], Array]
"""(operation, operand values, constants) -> the value of its only result."""


def constant(op: ConstantOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """The constant's contents."""
    return op.array(store)


def map_(op: MapOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Elementwise application of a scalar function."""
    return scalar.evaluate(op.fn.data, list(args), op.param_values, element_of(op.result))


def cast(op: CastOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Element conversion."""
    with np.errstate(all="ignore"):
        return np.asarray(args[0]).astype(numpy_dtype(element_of(op.result)), copy=False)


HANDLERS: dict[type[Operation], Handler] = {
    ConstantOp: constant,
    MapOp: map_,
    CastOp: cast,
    ConvOp: windows.conv,
    PoolOp: windows.pool,
    MatMulOp: nn.matmul,
    ReduceOp: nn.reduce,
    ArgReduceOp: nn.arg_reduce,
    BatchNormOp: nn.batch_norm,
    SoftmaxOp: nn.softmax,
    TransposeOp: shape.transpose,
    ReshapeOp: shape.reshape,
    BroadcastOp: shape.broadcast,
    ConcatOp: shape.concat,
    SliceOp: shape.slice_,
    PadOp: shape.pad,
    GatherOp: shape.gather,
    ResizeOp: resize.resize,
    QuantizeOp: quant.quantize,
    DequantizeOp: quant.dequantize,
    RequantizeOp: quant.requantize,
    LookupOp: quant.lookup,
    QAddOp: quant.qadd,
    QMulOp: quant.qmul,
    QSoftmaxOp: rows.qsoftmax,
    QNormOp: rows.qnorm,
    CustomOp: custom.custom,
}
