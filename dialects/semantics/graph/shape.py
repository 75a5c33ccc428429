"""Meaning of the data-movement operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...constants import Array, ConstantStore
from ...graph import (
    BroadcastOp,
    ConcatOp,
    GatherOp,
    PadOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
)
from ...types import int_values, shape_of


def transpose(op: TransposeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """A transposed view."""
    return args[0].transpose(int_values(op.perm))


def reshape(op: ReshapeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Row-major reshape."""
    return args[0].reshape(shape_of(op.result))


def broadcast(op: BroadcastOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """A broadcast view."""
    return np.broadcast_to(args[0], shape_of(op.result))


def concat(op: ConcatOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Concatenation."""
    return np.concatenate(list(args), axis=op.axis.value.data)


def slice_(op: SliceOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """A strided view."""
    index: list[slice] = []
    for start, size, step in zip(
        int_values(op.starts), int_values(op.sizes), int_values(op.steps), strict=True
    ):
        stop = start + size * step
        index.append(slice(start, None if stop < 0 else stop, step) if size else slice(0, 0))
    return args[0][tuple(index)]


def pad(op: PadOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Crop where amounts are negative, then pad."""
    x = args[0]
    pairs = list(zip(int_values(op.low), int_values(op.high), strict=True))
    x = x[
        tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pairs, strict=True))
    ]
    widths = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if op.mode.data == "constant":
        value = np.asarray(op.value.value.data).astype(x.dtype)
        return np.pad(x, widths, mode="constant", constant_values=value)
    if op.mode.data == "reflect":
        return np.pad(x, widths, mode="reflect")
    return np.pad(x, widths, mode="edge" if op.mode.data == "edge" else "wrap")


def gather(op: GatherOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """numpy.take; indices out of range are clamped (ONNX leaves them undefined)."""
    x, indices = args
    axis = op.axis.value.data
    extent = x.shape[axis]
    indices = np.where(indices < 0, indices.astype(np.int64) + extent, indices)
    return np.take(x, np.clip(indices, 0, max(extent - 1, 0)), axis=axis)
