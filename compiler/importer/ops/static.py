"""Constants, and operators whose result is known at import: shapes, ranges, filled tensors."""

from __future__ import annotations

import math

import numpy as np

from ....dialects.constants import Array
from ..limits import FOLD_LIMIT
from ..node import Node, Value, rule
from ..tensors import numpy_type


@rule("Constant")
def constant(node: Node) -> Value:
    """A constant of any of ONNX's forms."""
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if (attr := node.attributes.get(name)) is not None:
            field = {
                "value_float": attr.f,
                "value_floats": attr.floats,
                "value_int": attr.i,
                "value_ints": attr.ints,
            }[name]
            return np.array(field, dtype)
    array = node.tensor("value")
    if array is None:
        given = ", ".join(sorted(node.attributes)) or "none"
        raise node.unsupported(
            f"only numeric dense constants can be compiled (attributes: {given})",
            "store the value as a dense tensor",
        )
    return array


def filled(node: Node, shape: tuple[int, ...], value: Array) -> Value:
    """A tensor of one value: known if small, else a broadcast."""
    if min(shape, default=0) < 0:
        raise node.error(f"the shape {list(shape)} is negative")
    if math.prod(shape) <= FOLD_LIMIT:
        return np.full(shape, value)
    return node.broadcast(node.constant(value), shape)


@rule("ConstantOfShape")
def constant_of_shape(node: Node) -> Value:
    """A tensor of one value (0.0 by default)."""
    value = node.tensor("value")
    value = np.zeros((), np.float32) if value is None else value.reshape(-1)[:1].reshape(())
    return filled(node, tuple(node.static_ints(0, "the shape")), value)


@rule("ConstantFill")
def constant_fill(node: Node) -> Value:
    """Experimental operator of opset 1: as ConstantOfShape, with attributes."""
    shape = (
        node.static_ints(0, "the shape")
        if node.integer("input_as_shape", 0)
        else node.integers("shape", node.shape() if node.has(0) else None)
    )
    return filled(
        node, tuple(shape), np.array(node.real("value", 0.0), numpy_type(node.integer("dtype", 1)))
    )


@rule("Range")
def range_(node: Node) -> Value:
    """start, start + delta, ... below limit."""
    start, limit, delta = (
        node.static_scalar(i, w) for i, w in enumerate(("the start", "the limit", "the delta"))
    )
    if not delta or not all(map(math.isfinite, (start, limit, delta))):
        raise node.error(f"from {start} to {limit} by {delta} is no range")
    size = max(0, math.ceil((limit - start) / delta))
    if size > FOLD_LIMIT:
        raise node.unsupported(
            f"the range would have {size} elements, at most {FOLD_LIMIT} are supported",
            "make it an input of the model",
        )
    dtype = node.dtype()
    return (np.array(start, dtype) + np.arange(size).astype(dtype) * np.array(delta, dtype)).astype(
        dtype
    )


@rule("Shape")
def shape(node: Node) -> Value:
    """The operand's extents, or a part of them."""
    return np.array(node.shape()[slice(node.integer("start", 0), _end(node))], np.int64)


def _end(node: Node) -> int | None:
    return node.integer("end") if node.has_attr("end") else None


@rule("Size")
def size(node: Node) -> Value:
    """The operand's number of elements."""
    return np.array(math.prod(node.shape()), np.int64)


@rule("EyeLike")
def eye_like(node: Node) -> Value:
    """Ones on a diagonal."""
    extents = node.shape()
    if len(extents) != 2 or math.prod(extents) > FOLD_LIMIT:
        raise node.unsupported(f"an identity of shape {list(extents)}", "store it as a constant")
    dtype = numpy_type(node.integer("dtype")) if node.has_attr("dtype") else node.dtype()
    return np.eye(*extents, node.integer("k", 0)).astype(dtype)


@rule("NonZero")
def non_zero(node: Node) -> Value:
    """Indices of nonzero elements, of what is known."""
    array = node.array(0)
    if array is None:
        raise node.unsupported(
            "the shape of its result depends on the data", "use Where with a mask instead"
        )
    if array.size > FOLD_LIMIT:
        raise node.unsupported(f"of {array.size} elements, at most {FOLD_LIMIT} are supported")
    return np.array(np.nonzero(array), np.int64).reshape(
        max(array.ndim, 1) if array.ndim else 0, -1
    )


@rule("OneHot")
def one_hot(node: Node) -> Value:
    """On where the (maybe negative) index is the position on the new axis, else off."""
    indices, depth = node.x(0), int(node.static_scalar(1, "the depth"))
    if node.shape(2) != (2,) or depth < 1:
        raise node.error(f"depth {depth} and values of shape {list(node.shape(2))} do not fit")
    extents = list(node.shape(0))
    axis = node.axis(node.integer("axis", -1), len(extents) + 1)
    positions = (
        np.arange(node.bounded(depth))
        .astype(node.dtype(0))
        .reshape(-1, *[1] * (len(extents) - axis))
    )
    wide = node.reshape(indices, (*extents[:axis], 1, *extents[axis:]))
    if np.issubdtype(node.dtype(0), np.signedinteger):
        wrapped = node.map("add", wide, node.scalar(depth, wide))
        wide = node.map("select", node.map("less", wide, node.scalar(0, wide)), wrapped, wide)
    off, on = (node.reshape(node.slice_axis(node.x(2), 0, i, 1), ()) for i in range(2))
    return node.map("select", node.map("equal", wide, node.constant(positions)), on, off)
