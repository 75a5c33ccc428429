"""Gather, scatter and their relatives.  Negative indices count from the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _indices(indices: Array, extent: int) -> Array:
    """Indices into an axis, made non-negative; HostError if one is outside."""
    whole = indices.astype(np.int64)
    if whole.size and (whole.min() < -extent or whole.max() >= extent):
        bad = int(whole[(whole < -extent) | (whole >= extent)].reshape(-1)[0])
        raise HostError(f"index {bad} is outside an axis of {extent} elements")
    return np.where(whole < 0, whole + extent, whole)


def grid(shape: Sequence[int]) -> list[Array]:
    """Positions along each axis, shaped to broadcast to `shape`."""
    return [
        np.arange(n, dtype=np.int64).reshape([-1 if j == i else 1 for j in range(len(shape))])
        for i, n in enumerate(shape)
    ]


def _axis(call: Call, rank: int) -> int:
    axis = int(call.attr("axis", 0))
    if not -rank <= axis < rank:
        raise HostError(f"axis {axis} is out of range for rank {rank}")
    return axis % rank


@operator("Gather")
def gather(call: Call) -> list[Value]:
    """Slices along an axis."""
    x = call.tensor(0)
    axis = _axis(call, x.ndim)
    return [np.take(x, _indices(call.tensor(1), x.shape[axis]), axis)]


@operator("GatherElements")
def gather_elements(call: Call) -> list[Value]:
    """`x[i][index[i][j]]`: one element per index."""
    x, indices = call.tensor(0), call.tensor(1)
    axis = _axis(call, x.ndim)
    if indices.ndim != x.ndim:
        raise HostError(f"indices of shape {indices.shape} into shape {x.shape}")
    return [x[_element_spots(x.shape, _indices(indices, x.shape[axis]), axis)]]


def _element_spots(shape: tuple[int, ...], indices: Array, axis: int) -> tuple[Array, ...]:
    for i, (have, want) in enumerate(zip(indices.shape, shape, strict=True)):
        if i != axis and have > want:
            raise HostError(f"indices of shape {indices.shape} into shape {shape}")
    spots = grid(indices.shape)
    spots[axis] = indices
    return tuple(spots)


def _nd_spots(shape: tuple[int, ...], indices: Array, batch: int = 0) -> tuple[Array, ...]:
    """Index arrays for indices whose last axis holds coordinates behind `batch` axes."""
    if indices.ndim < 1 or batch + indices.shape[-1] > len(shape):
        raise HostError(f"indices of shape {indices.shape} into shape {shape}")
    if indices.shape[:batch] != shape[:batch]:
        raise HostError(f"batches of {indices.shape[:batch]} in {shape[:batch]}")
    batches = grid(indices.shape[:-1])[:batch]
    columns = np.moveaxis(indices, -1, 0)
    return (*batches, *(_indices(c, shape[batch + i]) for i, c in enumerate(columns)))


@operator("GatherND")
def gather_nd(call: Call) -> list[Value]:
    """Slices at coordinates, batch by batch."""
    x, indices = call.tensor(0), call.tensor(1)
    batch = int(call.attr("batch_dims", 0))
    if batch == 0 and indices.shape[-1] == 0:
        return [np.broadcast_to(x, (*indices.shape[:-1], *x.shape)).copy()]
    return [x[_nd_spots(x.shape, indices, batch)]]


def _update(out: Array, spots: tuple[Array, ...], updates: Array, reduction: str) -> None:
    """Write or combine in place; of several plain writes to one element the last counts."""
    if reduction == "none":
        out[spots] = updates
        return
    functions = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
    if reduction not in functions:
        raise HostError(f"there is no reduction {reduction!r}")
    functions[reduction].at(out, spots, updates)


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> list[Value]:
    """One element per index, combined with what is there by `reduction`."""
    x, indices, updates = call.tensor(0), call.tensor(1), call.tensor(2)
    axis = _axis(call, x.ndim)
    if indices.ndim != x.ndim or indices.shape != updates.shape:
        raise HostError(f"indices {indices.shape} and updates {updates.shape} into {x.shape}")
    spots = _element_spots(x.shape, _indices(indices, x.shape[axis]), axis)
    out = x.copy()
    _update(out, spots, updates, call.attr("reduction", "none"))
    return [out]


@operator("ScatterND")
def scatter_nd(call: Call) -> list[Value]:
    """Slices at coordinates, combined with what is there by `reduction`."""
    x, indices, updates = call.tensor(0), call.tensor(1), call.tensor(2)
    spots = _nd_spots(x.shape, indices)
    if updates.shape != (*indices.shape[:-1], *x.shape[indices.shape[-1] :]):
        raise HostError(f"indices {indices.shape} and updates {updates.shape} into {x.shape}")
    out = x.copy()
    _update(out, spots, updates, call.attr("reduction", "none"))
    return [out]
