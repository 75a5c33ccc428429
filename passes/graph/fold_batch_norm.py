"""Fold batch normalisation, and constant scales and offsets, into convolutions and matmuls.

    %y = graph.conv %x, %w                     %y = graph.conv %x, %w', %b'
    %n = graph.batch_norm %y, ...      ->      (w' = w * s, b' = (b - mean) * s + bias,
    %z = graph.map "mul" %n, %c                 with s = c * scale / sqrt(var + epsilon))

A scale or offset per channel (or one for all) folds into what comes before it when that has no
other user, or, standing alone before a convolution, into its weights: a scale always, an offset
only where no padding is read, since padding is zero after it and not before.  A batch
normalisation that folds nowhere becomes a `mul` and an `add`.  New weights are computed in f64 and
rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array
from ...dialects.graph import BatchNormOp, ConvOp, MapOp, MatMulOp, ReshapeOp, channel_axis
from ...dialects.locations import inherit
from ...dialects.types import element_of, int_values, is_float, numpy_dtype, shape_of
from ..base import CompilerContext, Pass, main_function
from .rules.driver import Replacement, Rewriter, Rules, apply_rules


def affine_of(
    op: Operation, ctx: Rewriter
) -> tuple[SSAValue, Array | None, Array | None, int] | None:
    """`op` as x * scale + offset: (x, scale or None, offset or None, axis), f64 vectors [C] or [1].

    `axis` is that of the channels; None if `op` is not of this form with constants.
    """
    if isinstance(op, BatchNormOp):
        arrays = [ctx.array(v) for v in (op.scale, op.bias, op.mean, op.var)]
        if any(a is None for a in arrays):
            return None
        scale, bias, mean, var = (np.asarray(a, np.float64) for a in arrays)
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(var + op.epsilon.value.data)
            offset = bias - mean * factor
        if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
            return None
        return op.x, factor, offset, op.axis.value.data
    if not isinstance(op, MapOp) or op.fn.data not in ("mul", "add"):
        return None
    array, rank = ctx.array(op.args[1]), len(shape_of(op.result))
    if array is None or op.args[0].type != op.result.type or not is_float(element_of(op.result)):
        return None
    long = [i - array.ndim + rank for i, d in enumerate(array.shape) if d != 1]
    if len(long) > 1 or not np.isfinite(array.astype(np.float64)).all():
        return None
    vector, axis = array.astype(np.float64).reshape(-1), long[0] if long else -1
    if op.fn.data == "mul":
        return op.args[0], vector, None, axis
    return op.args[0], None, vector, axis


def into_producer(op: Operation, ctx: Rewriter) -> Replacement:
    """Fold x * scale + offset into the convolution or matmul that makes x."""
    found = affine_of(op, ctx)
    if found is None:
        return None
    x, scale, offset, axis = found
    root, type = x.owner, x.type
    if not isinstance(root, ConvOp | MatMulOp) or not x.has_one_use() or type != op.results[0].type:
        return None
    rank = len(shape_of(x))
    if axis not in (
        -1,
        channel_axis(rank, root.layout.data) if isinstance(root, ConvOp) else rank - 1,
    ):
        return None
    if not is_float(element_of(root.operands[0])):
        return None
    conv = isinstance(root, ConvOp)
    channels = root.out_channels if conv else shape_of(root.b)[-1]
    weights, old_bias = root.operands[1], root.b if conv else root.bias
    w = ctx.array(weights)
    b = None if old_bias is None else ctx.array(old_bias)
    if (scale is not None and w is None) or (old_bias is not None and b is None):
        return None
    new_ops: list[Operation] = []
    if scale is not None and w is not None:
        column = np.broadcast_to(scale, (channels,))
        first = conv and root.layout.data == "NCHW"
        shape = (-1, *[1] * (w.ndim - 1)) if first else (-1,)
        new_ops.append(ctx.constant((w.astype(np.float64) * column.reshape(shape)).astype(w.dtype)))
        weights = new_ops[-1].results[0]
    if b is not None or offset is not None:
        total = np.zeros(channels) if b is None else b.astype(np.float64)
        total = total * (1.0 if scale is None else scale) + (0.0 if offset is None else offset)
        dtype = b.dtype if b is not None else _dtype(x)
        new_ops.append(ctx.constant(np.asarray(total).astype(dtype)))
    bias = new_ops[-1].results[0] if b is not None or offset is not None else None
    return [*new_ops, inherit(_rebuilt(root, root.operands[0], weights, bias), root)]


def _dtype(value: SSAValue) -> np.dtype[np.generic]:
    return numpy_dtype(element_of(value))


def _rebuilt(root: ConvOp | MatMulOp, x: SSAValue, w: SSAValue, b: SSAValue | None) -> Operation:
    """`root` with other operands."""
    if isinstance(root, MatMulOp):
        return MatMulOp(x, w, b)
    return ConvOp(
        x,
        w,
        b,
        strides=int_values(root.strides),
        pads=int_values(root.pads),
        dilations=int_values(root.dilations),
        group=root.group.value.data,
        layout=root.layout.data,
    )


def into_consumer(op: ConvOp, ctx: Rewriter) -> Replacement:
    """Fold a scale or offset of a convolution's input into its weights and bias."""
    source, w = op.x.owner, ctx.array(op.w)
    if not isinstance(source, Operation) or w is None or not op.x.has_one_use():
        return None
    found = affine_of(source, ctx)
    b = None if op.b is None else ctx.array(op.b)
    if found is None or not is_float(element_of(op.x)) or (op.b is not None and b is None):
        return None
    x, scale, offset, axis = found
    rank, nchw, group = len(shape_of(op.x)), op.layout.data == "NCHW", op.group.value.data
    if axis not in (-1, channel_axis(rank, op.layout.data)) or x.type != op.x.type:
        return None
    if offset is not None and offset.any() and any(int_values(op.pads)):
        return None
    channels, m = shape_of(x)[channel_axis(rank, op.layout.data)], op.out_channels
    oihw = w.astype(np.float64) if nchw else np.moveaxis(w.astype(np.float64), (-1, -2), (0, 1))

    def per_weight(vector: Array) -> Array:
        """[C] by group, aligned with OIHW weights: [M, C / group, 1...]."""
        by_group = np.broadcast_to(vector, (channels,)).reshape(group, 1, channels // group)
        rows = np.broadcast_to(by_group, (group, m // group, channels // group))
        return rows.reshape(m, -1, *[1] * (rank - 2))

    bias = np.zeros(m) if b is None else b.astype(np.float64)
    if offset is not None:
        bias = bias + (oihw * per_weight(offset)).reshape(m, -1).sum(axis=1)
    new_ops: list[Operation] = []
    weights, new_bias = op.w, op.b
    if scale is not None:
        scaled = oihw * per_weight(scale)
        scaled = scaled if nchw else np.moveaxis(scaled, (0, 1), (-1, -2))
        new_ops.append(ctx.constant(np.ascontiguousarray(scaled.astype(w.dtype))))
        weights = new_ops[-1].results[0]
    if offset is not None:
        new_ops.append(ctx.constant(bias.astype(w.dtype)))
        new_bias = new_ops[-1].results[0]
    return [*new_ops, inherit(_rebuilt(op, x, weights, new_bias), source)]


def expand(op: BatchNormOp, ctx: Rewriter) -> Replacement:
    """What folds nowhere: x * factor + offset, or the definition where it is not constant."""
    shape = (-1, *[1] * (len(shape_of(op.x)) - 1 - op.axis.value.data))
    found = affine_of(op, ctx)
    if found is not None:
        _, factor, offset, _ = found
        assert factor is not None and offset is not None
        dtype = _dtype(op.x)
        new = [ctx.constant(v.astype(dtype).reshape(shape)) for v in (factor, offset)]
        scaled = MapOp("mul", [op.x, new[0].result])
        return [*new, scaled, MapOp("add", [scaled.result, new[1].result])]
    aligned = [
        ReshapeOp(v, (shape_of(v)[0], *shape[1:])) for v in (op.scale, op.bias, op.mean, op.var)
    ]
    scale, bias, mean, var = (r.result for r in aligned)
    epsilon = ctx.constant(np.asarray(op.epsilon.value.data, _dtype(op.var)))
    centred = MapOp("sub", [op.x, mean])
    moved = MapOp("add", [var, epsilon.result])
    deviation = MapOp("sqrt", [moved.result])
    normal = MapOp("div", [centred.result, deviation.result])
    scaled = MapOp("mul", [normal.result, scale])
    ops: list[Operation] = [*aligned, epsilon, centred, moved, deviation, normal, scaled]
    return [*ops, MapOp("add", [scaled.result, bias])]


FOLD: Rules = {BatchNormOp: (into_producer,), MapOp: (into_producer,), ConvOp: (into_consumer,)}
EXPAND: Rules = {BatchNormOp: (expand,)}


@dataclass(frozen=True)
class FoldBatchNormPass(Pass):
    """Fold batch normalisation and constant scales and offsets into convolutions and matmuls."""

    name = "fold-batch-norm"
    ensures = ("no-batch-norm",)

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Fold, expand what is left, and fold what that makes possible."""
        block = main_function(module).body.block
        apply_rules(block, FOLD, ctx.constants)
        if apply_rules(block, EXPAND, ctx.constants):
            apply_rules(block, FOLD, ctx.constants)


PASS = FoldBatchNormPass
