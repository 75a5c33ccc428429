"""Operators whose meaning changed between opsets, in all their versions.

Before opset 7, binary operators broadcast only if asked to, and align the second operand at an
axis; before opset 13, softmax and its relatives see a matrix split at their axis.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from onnx import NodeProto

from . import reference
from .casting import widened
from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _aligned(call: Call) -> Call:
    """A call before opset 7 as one of later opsets: the second operand with trailing ones."""
    a, b, axis = call.tensor(0), call.tensor(1), call.attr("axis")
    if call.attr("broadcast", 0):
        start = a.ndim - b.ndim if axis is None else int(axis) % max(a.ndim, 1)
        tail = a.ndim - start - b.ndim
        if start < 0 or tail < 0:
            raise HostError(f"shape {list(b.shape)} at axis {axis} of shape {list(a.shape)}")
        b = b.reshape((*b.shape, *[1] * tail))
    elif a.shape != b.shape:
        raise HostError(f"shapes {list(a.shape)} and {list(b.shape)} differ, without broadcasting")
    node = NodeProto()
    node.CopyFrom(call.node)
    del node.attribute[:]
    return dataclasses.replace(call, node=node, inputs=[a, b], opset=7)


@operator("Add", "Sub", "Mul", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater")
def binary(call: Call) -> list[Value]:
    """Elementwise functions of two operands."""
    return reference.run(_aligned(call) if call.opset < 7 else call)


@operator("Div")
def div(call: Call) -> list[Value]:
    """Division; that of integers rounds towards zero, and by zero gives zero."""
    if call.opset < 7:
        call = _aligned(call)
    a, b = call.tensor(0), call.tensor(1)
    checked_shape(np.broadcast_shapes(a.shape, b.shape))
    if a.dtype.kind not in "iu" or b.dtype != a.dtype:
        return [np.asarray(a / b).astype(a.dtype)]
    both: Any = np.divmod(a, b)
    up: Array = np.asarray((both[1] != 0) & ((a < 0) != (b < 0)))
    return [np.asarray(np.add(both[0], up), a.dtype)]


@operator("Clip", "Gemm")
def as_of_opset_6(call: Call) -> list[Value]:
    """Opset 1 differs from opset 6 in nothing that matters here."""
    return reference.run(dataclasses.replace(call, opset=max(call.opset, 6)))


@operator("Concat")
def concat(call: Call) -> list[Value]:
    """Joined along an axis, which opset 1 need not give."""
    parts = [call.tensor(i) for i in range(len(call.inputs))]
    axis = int(call.attr("axis", 1) if call.opset < 4 else call.required("axis"))
    return [np.concatenate(parts, axis)]


@operator("Split")
def split(call: Call) -> list[Value]:
    """Pieces of given lengths, or as many as there are outputs, the last one shorter.

    Lengths are an attribute, from opset 13 on an input; in opset 1 either, of the data's own type.
    """
    x, axis = call.tensor(0), int(call.attr("axis", 0))
    if not -x.ndim <= axis < x.ndim:
        raise HostError(f"axis {axis} is out of range for shape {list(x.shape)}")
    extent, given = x.shape[axis], call.optional(1)
    lengths = call.attr("split") if given is None else given.reshape(-1).tolist()
    if lengths:
        sizes = [int(length) for length in lengths]
        if min(sizes) < 0 or sum(sizes) != extent:
            raise HostError(f"pieces of lengths {sizes} do not add up to {extent}")
    else:
        count = int(call.attr("num_outputs") or len(call.node.output))
        each = -(-extent // count)
        sizes = [max(min(each, extent - i * each), 0) for i in range(count)]
    return list(np.split(x, np.cumsum(sizes)[:-1], axis))


@operator("Reshape")
def reshape(call: Call) -> list[Value]:
    """0 copies a dimension unless `allowzero`, -1 takes what is left; opset 1 has an attribute."""
    x = call.tensor(0)
    wanted = call.required("shape") if call.opset < 5 else call.tensor(1).reshape(-1).tolist()
    shape = [int(d) for d in wanted]
    if not call.attr("allowzero", 0):
        if any(d == 0 and i >= x.ndim for i, d in enumerate(shape)):
            raise HostError(f"the shape {shape} copies dimensions that {list(x.shape)} lacks")
        shape = [x.shape[i] if d == 0 else d for i, d in enumerate(shape)]
    try:
        return [x.reshape(shape)]
    except ValueError:
        raise HostError(f"shape {list(x.shape)} cannot become {shape}") from None


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _hardmax(x: Array, axis: int) -> Array:
    out = np.zeros_like(x)
    np.put_along_axis(out, x.argmax(axis, keepdims=True), 1, axis)
    return out


@operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: Call) -> list[Value]:
    """Along an axis; before opset 13 over all axes from there on."""
    x = call.tensor(0)
    if x.size == 0:
        return [x]
    if call.opset >= 13:
        return reference.run(call)
    axis = int(call.attr("axis", 1))
    if not -x.ndim <= axis <= x.ndim:
        raise HostError(f"axis {axis} is out of range for rank {x.ndim}")
    axis += x.ndim if axis < 0 else 0
    function = {"Softmax": _softmax, "LogSoftmax": _log_softmax, "Hardmax": _hardmax}[call.op]
    matrix = widened(x).reshape(math.prod(x.shape[:axis]), -1)
    return [function(matrix, 1).reshape(x.shape).astype(x.dtype)]


@operator("BatchNormalization")
def batch_normalization(call: Call) -> list[Value]:
    """Normalisation by given statistics, or in training by those of the batch.

    Training is asked for by `training_mode` from opset 14 on, by naming further outputs in opset 7
    and 9, and by `is_test = 0` before.  It also gives the running statistics:
    `running * momentum + batch * (1 - momentum)`; opset 14 takes the population variance.
    """
    x, scale, bias, mean, variance = (call.tensor(i) for i in range(5))
    momentum, epsilon = float(call.attr("momentum", 0.9)), float(call.attr("epsilon", 1e-5))
    if call.opset >= 14:
        training = bool(call.attr("training_mode", 0))
    else:
        training = call.wants(1) if call.opset >= 7 else not call.attr("is_test", 0)
    wide = widened(x)
    dims = [1, -1, *[1] * (x.ndim - 2)] if call.attr("spatial", 1) else [1, *x.shape[1:]]
    axes = (0, *range(2, x.ndim)) if call.attr("spatial", 1) else (0,)
    batch: list[Array] = []
    if training:
        batch = [wide.mean(axes), wide.var(axes)]
    used_mean, used_variance = batch or [widened(mean), widened(variance)]
    factor = widened(scale).reshape(dims) / np.sqrt(used_variance.reshape(dims) + epsilon)
    y = (wide - used_mean.reshape(dims)) * factor + widened(bias).reshape(dims)
    out: list[Value] = [y.astype(x.dtype)]
    if training:
        for old, new in zip((mean, variance), batch, strict=True):
            blend = widened(old) * momentum + new.reshape(old.shape) * (1 - momentum)
            out.append(blend.astype(old.dtype))
        out += [value.astype(mean.dtype) for value in batch]
    return out[: max(len(call.node.output), 1)]
