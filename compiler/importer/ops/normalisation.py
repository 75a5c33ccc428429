"""Normalisations and softmax.

Batch normalisation is an operator of the core (it folds into convolutions).  The others become
reductions and elementwise operations:

    layer norm   d = x - mean(x);  y = d / sqrt(mean(d * d) + epsilon) * scale + bias
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import SSAValue

from ....dialects.graph import BatchNormOp, PoolOp, ReduceOp, SoftmaxOp
from ....dialects.types import element_of, shape_of
from ..node import Node, Value, rule
from .elementwise import same_type


@rule("BatchNormalization", "SpatialBN")
def batch_norm(node: Node) -> Value | list[SSAValue]:
    """Batch normalisation of channels, or (opset < 9, spatial = 0) of each pixel.

    In training mode by the statistics of the batch; the running ones are further outputs.
    """
    x, shape = node.x(), node.shape()
    epsilon = node.real("epsilon", 1e-5)
    if node.opset < 9 and not node.integer("spatial", 1):
        return _normalised(node, x, [node.x(i) for i in range(1, 5)], epsilon)
    if len(shape) < 2 or any(node.shape(i) != (shape[1],) for i in range(1, 5)):
        raise node.error(
            f"scale, bias, mean and variance must have one element a channel of {list(shape)}"
        )
    scale, bias, mean, var = (node.cast(node.x(i), element_of(x)) for i in range(1, 5))
    if not node.integer("training_mode", 0):
        return node.emit(BatchNormOp(x, scale, bias, mean, var, epsilon))
    axes = [a for a in range(len(shape)) if a != 1]
    d, batch_mean = centred(node, x, axes)
    batch_var = node.emit(ReduceOp(node.map("mul", d, d), "mean", axes))
    one = (len(shape) - 2) * [1]
    parts = [node.reshape(v, (shape[1], *one)) for v in (scale, bias)]
    y = _normalised(node, x, [*parts, batch_mean, batch_var], epsilon)
    momentum, out = node.real("momentum", 0.9), [y]
    for old, new in ((mean, batch_mean), (var, batch_var)):
        kept = node.map("mul", old, node.scalar(momentum, old))
        moved = node.reshape(new, (shape[1],))
        added = node.map("mul", moved, node.scalar(1 - momentum, moved))
        out.append(node.map("add", kept, added))
    return out


def _normalised(
    node: Node, x: SSAValue, statistics: Sequence[SSAValue], epsilon: float
) -> SSAValue:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, by (scale, bias, mean, var)."""
    scale, bias, mean, var = statistics
    spread = node.map("sqrt", node.map("add", var, node.scalar(epsilon, x)))
    normal = node.map("div", node.map("sub", x, mean), spread)
    y = node.map("add", node.map("mul", normal, scale), bias)
    if shape_of(y) != shape_of(x):
        raise node.error(f"the statistics do not broadcast to {list(shape_of(x))}")
    return y


def centred(node: Node, x: SSAValue, axes: Sequence[int]) -> tuple[SSAValue, SSAValue]:
    """(x - mean, mean)."""
    mean = node.emit(ReduceOp(x, "mean", axes))
    return node.map("sub", x, mean), mean


def deviation(node: Node, x: SSAValue, axes: Sequence[int], epsilon: float) -> SSAValue:
    """sqrt(mean(x * x) + epsilon)."""
    power = node.emit(ReduceOp(node.map("mul", x, x), "mean", axes))
    return node.map("sqrt", node.map("add", power, node.scalar(epsilon, x)))


def _channels(node: Node, x: SSAValue, rank: int) -> SSAValue:
    """A vector of channels, shaped to broadcast against a tensor of `rank`."""
    return node.reshape(x, (*shape_of(x), *[1] * (rank - 2)))


@rule("InstanceNormalization")
def instance_norm(node: Node) -> Value:
    """Each channel of each sample over its pixels."""
    x, shape = node.x(), node.shape()
    same_type(node, x, node.x(1), node.x(2))
    if len(shape) < 3 or any(node.shape(i) != (shape[1],) for i in (1, 2)):
        raise node.error(f"scale and bias must have one element for each channel of {list(shape)}")
    axes = list(range(2, len(shape)))
    d, _ = centred(node, x, axes)
    normal = node.map("div", d, deviation(node, d, axes, node.real("epsilon", 1e-5)))
    scaled = node.map("mul", normal, _channels(node, node.x(1), len(shape)))
    return node.map("add", scaled, _channels(node, node.x(2), len(shape)))


@rule("LayerNormalization", "RMSNormalization")
def layer_norm(node: Node) -> list[Value]:
    """Over the axes from `axis` on; half types are computed in f32 (`stash_type`)."""
    x, rank = node.x(), len(node.shape())
    axes = list(range(node.axis(node.integer("axis", -1), rank), rank))
    wide = (
        node.cast(x, f32)
        if element_of(x) in (f16, bf16) and node.integer("stash_type", 1) == 1
        else x
    )
    rms = node.op == "RMSNormalization"
    d, mean = (wide, wide) if rms else centred(node, wide, axes)
    spread = deviation(node, d, axes, node.real("epsilon", 1e-5))
    y = node.cast(node.map("div", d, spread), element_of(x))
    for i, fn in ((1, "mul"), (2, "add")):
        if node.has(i):
            same_type(node, y, node.x(i))
            y = node.map(fn, y, node.x(i))
    if shape_of(y) != node.shape():
        raise node.error(f"scale and bias do not broadcast to {list(node.shape())}")
    if rms or len(node.outputs) == 1:
        return [y]
    return [y, mean, node.map("reciprocal", spread)]


@rule("GroupNormalization")
def group_norm(node: Node) -> Value:
    """Groups of channels; scale and bias are per group in opset 18, per channel from 21 on."""
    x, shape = node.x(), node.shape()
    groups, rank = node.integer("num_groups"), len(node.shape())
    if rank < 3 or groups < 1 or shape[1] % groups:
        raise node.error(f"{list(shape)} does not divide into {groups} groups")
    wide = (
        node.cast(x, f32)
        if element_of(x) in (f16, bf16) and node.integer("stash_type", 1) == 1
        else x
    )
    split = node.reshape(wide, (shape[0], groups, shape[1] // groups, *shape[2:]))
    axes = list(range(2, rank + 1))
    d, _ = centred(node, split, axes)
    y = node.cast(
        node.map("div", d, deviation(node, d, axes, node.real("epsilon", 1e-5))), element_of(x)
    )
    each_channel = node.opset >= 21
    y = node.reshape(y, shape) if each_channel else y
    for i, fn in ((1, "mul"), (2, "add")):
        if node.shape(i) != ((shape[1],) if each_channel else (groups,)):
            raise node.error(
                f"scale and bias of shape {list(node.shape(i))} do not fit {list(shape)} "
                f"in {groups} groups"
            )
        y = node.map(fn, y, _channels(node, node.x(i), rank if each_channel else rank + 1))
    return node.reshape(y, shape)


@rule("LpNormalization")
def lp_norm(node: Node) -> Value:
    """X divided by its norm along an axis; zero where the norm is zero."""
    x = node.x()
    axis, p = node.axis(node.integer("axis", -1), len(node.shape())), node.integer("p", 2)
    if p not in (1, 2):
        raise node.error(f"attribute 'p' must be 1 or 2, not {p}")
    norm = node.emit(ReduceOp(x, f"l{p}", [axis]))
    zero = node.map("equal", norm, node.scalar(0, x))
    return node.map("div", x, node.map("select", zero, node.scalar(1, x), norm))


@rule("LRN")
def local_response_norm(node: Node) -> Value:
    """X / (bias + alpha / size * sum of squares of neighbouring channels) ^ beta."""
    x, shape, extent = node.x(), node.shape(), node.integer("size")
    if len(shape) < 3 or extent < 1:
        raise node.error(f"size {extent} does not fit {list(shape)}")
    before = (extent - 1) // 2
    squares = node.reshape(node.map("mul", x, x), (shape[0], 1, shape[1], math.prod(shape[2:])))
    total = node.emit(
        PoolOp(
            squares,
            "sum",
            kernel=(extent, 1),
            strides=(1, 1),
            pads=(before, 0, extent - 1 - before, 0),
        )
    )
    scaled = node.map(
        "mul", node.reshape(total, shape), node.scalar(node.real("alpha", 1e-4) / extent, x)
    )
    base = node.map("add", scaled, node.scalar(node.real("bias", 1.0), x))
    return node.map("div", x, node.map("pow", base, node.scalar(node.real("beta", 0.75), x)))


@rule("Softmax", "LogSoftmax")
def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 along all axes from `axis` on, as a matrix."""
    x, shape = node.x(), node.shape()
    if not shape:
        raise node.error("the input must not be a scalar")
    axis = node.axis(
        node.integer("axis", 1 if node.opset < 13 else -1), len(shape), inclusive=node.opset < 13
    )
    if node.opset < 13:
        after = [i for i in range(axis, len(shape)) if shape[i] != 1]
        if len(after) > 1:
            matrix = node.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
            return node.reshape(_softmax(node, matrix, 1), shape)
        if not after:  # of one element each: ones
            return node.reshape(_softmax(node, node.reshape(x, (*shape, 1)), len(shape)), shape)
        axis = after[0]
    return _softmax(node, x, axis)


def _softmax(node: Node, x: SSAValue, axis: int) -> SSAValue:
    if node.op == "Softmax":
        return node.emit(SoftmaxOp(x, axis))
    shifted = node.map("sub", x, node.emit(ReduceOp(x, "max", [axis])))
    total = node.emit(ReduceOp(node.map("exp", shifted), "sum", [axis]))
    return node.map("sub", shifted, node.map("log", total))
