"""Operators that pick or order elements by their values, and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from .casting import widened
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise HostError(f"axis {axis} is out of range for rank {rank}")
    return axis % rank


@operator("NonZero")
def non_zero(call: Call) -> list[Value]:
    """One row of indices per axis, in row-major order; a scalar counts as one element."""
    x = call.tensor(0)
    if x.ndim == 0:
        return [np.zeros((0, int(bool(x))), np.int64)]
    return [np.stack(np.nonzero(x)).astype(np.int64)]


@operator("Unique")
def unique(call: Call) -> list[Value]:
    """Distinct elements or slices, sorted or by first occurrence; NaNs are one value."""
    x, axis = call.tensor(0), call.attr("axis")
    if axis is not None:
        axis = _axis(int(axis), x.ndim)
    comparable = x.astype(np.str_) if x.dtype == object else widened(x)
    if axis is None:
        comparable = comparable.reshape(-1)
    found: Any = np.unique(
        comparable, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    _, first, inverse, counts = found
    inverse = inverse.reshape(-1)
    if not call.attr("sorted", 1):
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, inverse, counts = first[order], rank[inverse], counts[order]
    values = x.reshape(-1)[first] if axis is None else np.take(x, first, axis)
    return [values, *(v.astype(np.int64) for v in (first, inverse, counts))]


@operator("Compress")
def compress(call: Call) -> list[Value]:
    """Slices whose condition holds; conditions may be fewer than slices."""
    x, condition, axis = call.tensor(0), call.tensor(1).astype(bool), call.attr("axis")
    extent = x.size if axis is None else x.shape[_axis(int(axis), x.ndim)]
    if condition.ndim != 1 or len(condition) > extent:
        raise HostError(f"{condition.size} conditions for {extent} slices")
    return [np.compress(condition, x, axis)]


@operator("TopK")
def top_k(call: Call) -> list[Value]:
    """The `k` greatest or least elements along an axis, in order; of equals the first ones."""
    x, axis = call.tensor(0), int(call.attr("axis", -1))
    axis = _axis(axis, x.ndim)
    k = int(call.required("k") if call.opset < 10 else call.scalar(1))
    if not 0 <= k <= x.shape[axis]:
        raise HostError(f"k = {k} for an axis of {x.shape[axis]} elements")
    keys = np.moveaxis(widened(x), axis, -1)
    if call.attr("largest", 1):
        last = x.shape[axis] - 1
        order = last - np.argsort(keys[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    else:
        order = np.argsort(keys, axis=-1, kind="stable")
    indices = np.moveaxis(order[..., :k], -1, axis)
    return [np.take_along_axis(x, indices, axis), indices.astype(np.int64)]


def _running(x: Array, axis: int, exclusive: bool, reverse: bool, product: bool) -> Array:
    values = np.flip(x, axis) if reverse else x
    wide = widened(values)
    run: Any = np.cumprod if product else np.cumsum
    out: Array = run(wide, axis, dtype=wide.dtype)
    if exclusive:
        first = np.full_like(np.take(out, [0], axis), 1 if product else 0)
        rest = np.take(out, range(x.shape[axis] - 1), axis)
        out = np.concatenate([first, rest], axis)
    return (np.flip(out, axis) if reverse else out).astype(x.dtype)


@operator("CumSum", "CumProd")
def running(call: Call) -> list[Value]:
    """Running sums or products along an axis."""
    x = call.tensor(0)
    axis = _axis(int(call.scalar(1)), x.ndim)
    if x.size == 0:
        return [x]
    exclusive, reverse = bool(call.attr("exclusive", 0)), bool(call.attr("reverse", 0))
    return [_running(x, axis, exclusive, reverse, call.op == "CumProd")]


@operator("ReverseSequence")
def reverse_sequence(call: Call) -> list[Value]:
    """The first `lengths[b]` steps of each batch in reverse, the rest as they are."""
    x, lengths = call.tensor(0), call.tensor(1).astype(np.int64)
    time, batch = int(call.attr("time_axis", 0)), int(call.attr("batch_axis", 1))
    moved = np.moveaxis(x, (batch, time), (0, 1))
    steps = moved.shape[1]
    if lengths.shape != (moved.shape[0],) or (lengths < 0).any() or (lengths > steps).any():
        raise HostError(f"lengths {lengths.tolist()} for {steps} steps")
    position: Array = np.broadcast_to(np.arange(steps, dtype=np.int64), (len(lengths), steps))
    source = np.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)
    out = moved[np.arange(len(lengths))[:, None], source]
    return [np.moveaxis(out, (0, 1), (batch, time)).copy()]
