"""Tensors whose size or content the data decides: constants, fills, ranges, repetition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .casting import dtype_of
from .limits import checked_shape
from .registry import Call, HostError, Value, operator, to_array


@operator("Constant")
def constant(call: Call) -> list[Value]:
    """The one value attribute; sparse ones become dense."""
    given = {a.name: call.attributes[a.name] for a in call.node.attribute}
    if "value" in given:
        return [given["value"]]
    if "sparse_value" in given:
        sparse = given["sparse_value"]
        values, indices = to_array(sparse.values), to_array(sparse.indices)
        dense = np.zeros(checked_shape(sparse.dims, values.dtype.itemsize), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
        return [dense]
    types: dict[str, Any] = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_string": object,
        "value_strings": object,
    }
    for name, value in given.items():
        if name in types:
            return [np.array(value, types[name])]
    raise HostError("there is no value")


@operator("ConstantOfShape")
def constant_of_shape(call: Call) -> list[Value]:
    """One value everywhere, by default 0.0."""
    value = call.attr("value")
    fill = np.zeros((), np.float32) if value is None else value.reshape(-1)[0]
    dtype = np.dtype(np.float32) if value is None else value.dtype
    return [np.full(checked_shape(call.tensor(0).reshape(-1), dtype.itemsize), fill, dtype)]


@operator("Range")
def range_(call: Call) -> list[Value]:
    """`start + i * delta`, `max(ceil((limit - start) / delta), 0)` elements."""
    start, limit, delta = call.scalar(0), call.scalar(1), call.scalar(2)
    dtype = call.tensor(0).dtype
    if delta == 0:
        raise HostError("the step of a range is 0")
    if isinstance(start, int):
        count = max(-((start - limit) // delta), 0)
    else:
        steps = (float(limit) - float(start)) / float(delta)
        if not math.isfinite(steps):
            raise HostError(f"a range from {start} to {limit} by {delta} has no end")
        count = max(math.ceil(steps), 0)
    (length,) = checked_shape([count])
    if dtype.kind == "f":
        values = np.arange(length) * dtype.type(delta) + dtype.type(start)
        return [values.astype(dtype)]
    kind = np.int64 if isinstance(start, int) else np.float64
    return [(np.arange(length, dtype=kind) * delta + start).astype(dtype)]


@operator("Expand")
def expand(call: Call) -> list[Value]:
    """Broadcast both ways: dimensions of 1 on either side give way."""
    x, target = call.tensor(0), [int(d) for d in call.tensor(1).reshape(-1)]
    checked_shape(target, x.dtype.itemsize)
    shape = np.broadcast_shapes(x.shape, tuple(target))
    checked_shape(shape, x.dtype.itemsize)
    return [np.broadcast_to(x, shape).copy()]


@operator("Tile")
def tile(call: Call) -> list[Value]:
    """Repetition along every axis; in opset 1 along one."""
    x = call.tensor(0)
    if call.opset < 6:
        repeats = [1] * x.ndim
        repeats[int(call.scalar(2))] = int(call.scalar(1))
    else:
        repeats = [int(r) for r in call.tensor(1).reshape(-1)]
    if len(repeats) != x.ndim or min(repeats, default=0) < 0:
        raise HostError(f"repeats {repeats} for a tensor of shape {list(x.shape)}")
    checked_shape([d * r for d, r in zip(x.shape, repeats, strict=True)], x.dtype.itemsize)
    return [np.tile(x, repeats)]


@operator("OneHot")
def one_hot(call: Call) -> list[Value]:
    """Indices outside the depth, counted from either end, give no hot element."""
    indices, depth, values = call.tensor(0), int(call.tensor(1).reshape(-1)[0]), call.tensor(2)
    axis = int(call.attr("axis", -1))
    rank = indices.ndim + 1
    if not -rank <= axis < rank:
        raise HostError(f"axis {axis} is out of range for rank {rank}")
    checked_shape([*indices.shape, depth], values.dtype.itemsize)
    whole = indices.astype(np.int64)
    whole = np.where(whole < 0, whole + depth, whole)
    out = np.full((*indices.shape, depth), values[0], values.dtype)
    spots = np.nonzero((whole >= 0) & (whole < depth))
    out[(*spots, whole[spots])] = values[1]
    return [np.moveaxis(out, -1, axis)]


@operator("EyeLike")
def eye_like(call: Call) -> list[Value]:
    """Ones on the `k`-th diagonal."""
    x = call.tensor(0)
    if x.ndim != 2:
        raise HostError(f"the input must be a matrix, but has shape {list(x.shape)}")
    element = call.attr("dtype")
    dtype = x.dtype if element is None else dtype_of(element)
    return [np.eye(*x.shape, k=int(call.attr("k", 0))).astype(dtype)]


@operator("Pad")
def pad(call: Call) -> list[Value]:
    """Constant, reflect, edge or wrap padding; negative amounts crop."""
    x = call.tensor(0)
    if call.opset < 11:
        amounts = call.attr("pads") or call.required("paddings")
        fill: Any = call.attr("value", 0.0)
    else:
        amounts = [int(p) for p in call.tensor(1).reshape(-1)]
        fill = 0 if call.value(2) is None else call.tensor(2).reshape(-1)[0]
        if call.value(2) is None and x.dtype == object:
            fill = ""
    axes = call.optional(3)
    places = range(x.ndim) if axes is None else [int(a) % x.ndim for a in axes.reshape(-1)]
    if len(amounts) != 2 * len(places):
        raise HostError(f"{len(amounts)} pad amounts for {len(places)} axes")
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(places):
        widths[axis] = (amounts[i], amounts[i + len(places)])
    checked_shape([d + a + b for d, (a, b) in zip(x.shape, widths, strict=True)], x.dtype.itemsize)
    crop = tuple(
        slice(max(-a, 0), d - max(-b, 0)) for d, (a, b) in zip(x.shape, widths, strict=True)
    )
    grow = [(max(a, 0), max(b, 0)) for a, b in widths]
    mode = call.attr("mode", "constant")
    if mode == "constant":
        out = np.full(
            [
                len(range(*s.indices(d))) + sum(g)
                for s, d, g in zip(crop, x.shape, grow, strict=True)
            ],
            fill,
            x.dtype,
        )
        inner = tuple(slice(a, n - b) for n, (a, b) in zip(out.shape, grow, strict=True))
        out[inner] = x[crop]
        return [out]
    if mode not in ("reflect", "edge", "wrap"):
        raise HostError(f"there is no padding mode {mode!r}")
    if mode == "reflect":
        return [np.pad(x[crop], grow, "reflect")]
    return [np.pad(x[crop], grow, "edge" if mode == "edge" else "wrap")]
