"""Gather and its relatives.

Only `graph.gather` is in the core.  Gathering elements or slices by computed positions is a gather
from the flattened tensor, at positions computed by integer arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp
from ..node import Node, Value, rule


def indices_of(node: Node, i: int = 1) -> Array | None:
    """Constant indices as i64; ModelError if the indices are not integers."""
    if node.dtype(i).kind not in "iu":
        raise node.error(f"indices must be integers, not {node.dtype(i).name}")
    array = node.array(i)
    return None if array is None else array.astype(np.int64)


def wrapped(node: Node, indices: Array, extent: int) -> Array:
    """Constant `indices` counted from the front; ModelError if one is out of range."""
    if indices.size and not (-extent <= int(indices.min()) and int(indices.max()) < extent):
        raise node.error(
            f"indices from {indices.min()} to {indices.max()} leave an axis of extent {extent}"
        )
    return np.where(indices < 0, indices + extent, indices)


@rule("Gather")
def gather(node: Node) -> Value:
    """numpy.take; evenly spaced constant indices are a slice."""
    shape = node.shape()
    axis = node.axis(node.integer("axis", 0), len(shape))
    indices = indices_of(node)
    if indices is not None:
        indices = wrapped(node, indices, shape[axis])
        flat = indices.reshape(-1)
        step = int(flat[1] - flat[0]) if flat.size > 1 else 1
        if flat.size and step and np.all(np.diff(flat) == step):
            starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
            starts[axis], sizes[axis], steps[axis] = int(flat[0]), flat.size, step
            return node.reshape(
                node.slice(node.x(), starts, sizes, steps),
                (*shape[:axis], *indices.shape, *shape[axis + 1 :]),
            )
        return node.emit(GatherOp(node.x(), node.constant(indices), axis))
    return node.emit(GatherOp(node.x(), node.x(1), axis))


def counted(node: Node, indices: SSAValue, extent: int) -> SSAValue:
    """Computed indices counted from the front."""
    wrapped = node.map("add", indices, node.scalar(extent, indices))
    return node.map("select", node.map("less", indices, node.scalar(0, indices)), wrapped, indices)


def strides_of(shape: Sequence[int]) -> list[int]:
    """Row-major strides, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def element_positions(node: Node, shape: Sequence[int], extents: Sequence[int], axis: int) -> Array:
    """Flat position in `shape` of each index of `extents`, without the part of `axis`."""
    node.bounded(math.prod(extents))
    position = np.zeros(tuple(extents), np.int64)
    for i, stride in enumerate(strides_of(shape)):
        if i != axis:
            position += (np.arange(extents[i]) * stride).reshape(-1, *[1] * (len(extents) - i - 1))
    return position


@rule("GatherElements")
def gather_elements(node: Node) -> Value:
    """result[i, j, ...] = x[i, indices[i, j, ...], ...] for the axis."""
    shape, extents = node.shape(), node.shape(1)
    axis = node.axis(node.integer("axis", 0), len(shape))
    if len(extents) != len(shape) or any(
        e > d for i, (e, d) in enumerate(zip(extents, shape, strict=True)) if i != axis
    ):
        raise node.error(f"indices of shape {list(extents)} do not fit {list(shape)}")
    base, stride = element_positions(node, shape, extents, axis), strides_of(shape)[axis]
    flat = node.reshape(node.x(), (math.prod(shape),))
    constant = indices_of(node)
    if constant is not None:
        return node.emit(
            GatherOp(flat, node.constant(base + wrapped(node, constant, shape[axis]) * stride), 0)
        )
    indices = counted(node, node.x(1), shape[axis])
    scaled = node.map("mul", indices, node.scalar(stride, indices))
    return node.emit(
        GatherOp(flat, node.map("add", scaled, node.constant(base.astype(node.dtype(1)))), 0)
    )


@rule("ReverseSequence")
def reverse_sequence(node: Node) -> Value:
    """The first `sequence_lens[b]` steps of batch b backwards, the others as they are."""
    shape = node.shape()
    batch = node.axis(node.integer("batch_axis", 1), len(shape))
    time = node.axis(node.integer("time_axis", 0), len(shape))
    if batch == time or {batch, time} != {0, 1}:
        raise node.error(f"batch_axis {batch} and time_axis {time} must be 0 and 1")
    if node.shape(1) != (shape[batch],):
        raise node.error(
            f"sequence_lens of shape {list(node.shape(1))} do not fit a batch of {shape[batch]}"
        )
    steps, batches = (
        np.arange(shape[axis], dtype=np.int64).reshape(-1, *[1] * (1 - axis))
        for axis in (time, batch)
    )
    node.bounded(shape[0] * shape[1])
    flat = node.reshape(node.x(), (shape[0] * shape[1], *shape[2:]))
    strides = strides_of(shape[:2])
    lengths = indices_of(node)
    if lengths is not None:
        if lengths.size and (lengths.min() < 0 or lengths.max() > shape[time]):
            raise node.error(
                f"sequence_lens from {lengths.min()} to {lengths.max()} leave a time axis "
                f"of extent {shape[time]}"
            )
        ends = lengths[batches]
        source = np.where(steps < ends, ends - 1 - steps, steps)
        positions = node.constant(source * strides[time] + batches * strides[batch])
    else:
        ends = node.reshape(node.x(1), batches.shape)
        step = node.constant(steps.astype(node.dtype(1)))
        last = node.map("sub", ends, node.scalar(1, ends))
        back = node.map("sub", last, step)
        source = node.map("select", node.map("less", step, ends), back, step)
        base = node.constant((batches * strides[batch]).astype(node.dtype(1)))
        scaled = node.map("mul", source, node.scalar(strides[time], source))
        positions = node.map("add", scaled, base)
    return node.reshape(node.emit(GatherOp(flat, positions, 0)), shape)


@rule("GatherND")
def gather_nd(node: Node) -> Value:
    """Slices at the tuples in the last axis of the indices."""
    shape, extents, batch = node.shape(), node.shape(1), node.integer("batch_dims", 0)
    depth = extents[-1] if extents else 0
    if (
        not 0 <= batch < len(extents)
        or batch + depth > len(shape)
        or depth < 1
        or shape[:batch] != extents[:batch]
    ):
        raise node.error(
            f"indices of shape {list(extents)} do not fit {list(shape)} with {batch} batch axes"
        )
    inner = shape[batch : batch + depth]
    rest = shape[batch + depth :]
    flat = node.reshape(node.x(), (math.prod(shape[: batch + depth]), *rest))
    node.bounded(math.prod(extents))
    base = np.zeros(extents[:-1], np.int64)
    for i, stride in enumerate(strides_of(shape[: batch + depth])[:batch]):
        base += (np.arange(extents[i]) * stride).reshape(-1, *[1] * (len(extents) - 2 - i))
    constant = indices_of(node)
    if constant is not None:
        for i, stride in enumerate(strides_of(inner)):
            base = base + wrapped(node, constant[..., i], inner[i]) * stride
        return node.emit(GatherOp(flat, node.constant(base), 0))
    position = node.constant(base.astype(node.dtype(1)))
    for i, stride in enumerate(strides_of(inner)):
        part = node.reshape(node.slice_axis(node.x(1), len(extents) - 1, i, 1), extents[:-1])
        part = counted(node, part, inner[i])
        position = node.map("add", position, node.map("mul", part, node.scalar(stride, part)))
    return node.emit(GatherOp(flat, position, 0))
