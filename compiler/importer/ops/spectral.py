"""Fourier transforms as matrix products with constant twiddle factors.

Real and imaginary parts, innermost in ONNX, join the transformed axis:

    Y[.., m, 2] = X[.., n, c] as [.., n c]  times  T [n c, 2 m]

(cost n^2, not n log n: what models transform is short).  STFT gathers its frames first.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, MatMulOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from ..tensors import numpy_type


def twiddles(n: int, bins: int, parts: int, *, inverse: bool) -> Array:
    """[n * parts, bins * 2]: the transform of n points to the first `bins` frequencies."""
    angle = -2 * np.pi * (np.outer(np.arange(n), np.arange(bins)) % n) / n
    cos, sin = np.cos(angle), np.sin(-angle if inverse else angle)
    table = np.empty((n, parts, bins, 2))
    table[:, 0] = np.stack([cos, sin], -1)
    if parts == 2:
        table[:, 1] = np.stack([-sin, cos], -1)
    return table.reshape(n * parts, bins * 2) / (n if inverse else 1)


def _real_inverse(n: int, bins: int) -> Array:
    """[bins * 2, n]: the real signal of n points from its first `bins` frequencies."""
    taken = min(bins, n // 2 + 1)
    weight = np.full(taken, 2.0)
    weight[0] = 1
    if n % 2 == 0 and taken == n // 2 + 1:
        weight[-1] = 1
    angle = 2 * np.pi * (np.outer(np.arange(taken), np.arange(n)) % n) / n
    table = np.zeros((bins, 2, n))
    table[:taken, 0] = weight[:, None] * np.cos(angle) / n
    table[:taken, 1] = -weight[:, None] * np.sin(angle) / n
    return table.reshape(bins * 2, n)


def _transformed(node: Node, x: SSAValue, table: Array, parts: int) -> SSAValue:
    """X [.., n, c] times `table`, as [.., m, parts]."""
    node.bounded(table.size)
    shape = shape_of(x)
    rows = node.reshape(x, (math.prod(shape[:-2]), shape[-2] * shape[-1]))
    y = node.emit(MatMulOp(rows, node.constant(table.astype(node.dtype()))))
    return node.reshape(y, (*shape[:-2], table.shape[1] // parts, parts))


@rule("DFT")
def dft(node: Node) -> Value:
    """Discrete Fourier transform along one axis; `onesided` is of (or to) a real signal."""
    x, rank = node.x(), len(node.shape())
    if rank < 2 or node.shape()[-1] not in (1, 2):
        raise node.error(f"the input of shape {list(node.shape())} must end in 1 or 2 parts")
    if node.opset < 20:
        axis = node.integer("axis", 1)
    else:
        axis = int(node.static_scalar(2, "the axis")) if node.has(2) else -2
    axis = node.axis(axis, rank)
    if axis == rank - 1:
        raise node.error("the last axis holds real and imaginary parts")
    inverse, onesided = bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))
    if inverse and not onesided:
        raise node.unsupported("an inverse transform is left to numpy's FFT", "")
    extent, parts = node.shape()[axis], node.shape()[-1]
    back = inverse and onesided
    length = 2 * (extent - 1) if back else extent
    if node.has(1):
        length = int(node.static_scalar(1, "the length of the transform"))
    if length < 1:
        raise node.error(f"a transform of {length} points")
    perm = [*(a for a in range(rank - 1) if a != axis), axis, rank - 1]
    x = node.transpose(x, perm)
    if back:
        if parts == 1:
            x = node.concat([x, node.map("sub", x, x)], rank - 1)
        y = _transformed(node, x, _real_inverse(length, extent), 1)
    else:
        if extent > length:
            x = node.slice_axis(x, rank - 2, 0, length)
        else:
            high = [length - extent if a == rank - 2 else 0 for a in range(rank)]
            x = node.pad(x, [0] * rank, high)
        bins = length // 2 + 1 if onesided else length
        y = _transformed(node, x, twiddles(length, bins, parts, inverse=inverse), 2)
    return node.transpose(y, [perm.index(a) for a in range(rank)])


@rule("STFT")
def stft(node: Node) -> Value:
    """Transforms of windowed frames [batch, frames, bins, 2] of a signal [batch, n, parts]."""
    x, shape = node.x(), node.shape()
    if len(shape) == 2:
        x, shape = node.reshape(x, (*shape, 1)), (*shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 2):
        raise node.error(f"a signal of shape {list(shape)} is not [batch, length, 1 or 2]")
    step = int(node.static_scalar(1, "the frame step"))
    if node.has(3):
        length = int(node.static_scalar(3, "the frame length"))
    else:
        length = node.shape(2)[0] if node.has(2) else shape[1]
    frames = (shape[1] - length) // step + 1 if step > 0 else 0
    if frames < 1 or (node.has(2) and node.shape(2) != (length,)):
        raise node.error(f"frames of {length} by steps of {step} do not fit {list(shape)}")
    node.bounded(frames * length)
    places = np.arange(frames).reshape(-1, 1) * step + np.arange(length)
    cut = node.emit(GatherOp(x, node.constant(places), 1))
    if node.has(2):
        cut = node.map("mul", cut, node.reshape(node.x(2), (length, 1)))
    onesided = node.integer("onesided", 1) and shape[2] == 1
    bins = length // 2 + 1 if onesided else length
    return _transformed(node, cut, twiddles(length, bins, shape[2], inverse=False), 2)


@rule("MelWeightMatrix")
def mel_weight_matrix(node: Node) -> Value:
    """Triangles [bins of the spectrum, mel bins], all known at import."""
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    count, length, rate, low, high = (node.static_scalar(i, n) for i, n in enumerate(names))
    bins = int(length) // 2 + 1
    if count < 1 or bins < 1 or rate <= 0:
        raise node.error(f"{count} mel bins of {bins} at a rate of {rate}")
    node.bounded(bins * int(count))
    ends = [2595 * np.log1p(hertz / 700) / np.log(10) for hertz in (low, high)]
    mel = np.arange(int(count) + 2) * (ends[1] - ends[0]) / (int(count) + 2) + ends[0]
    points = ((length + 1) * (700 * np.expm1(mel / 2595 * np.log(10))) // rate).astype(np.int64)
    if points.min() < 0 or points[1:-1].max() >= bins or points[-1] > bins:
        raise node.error(f"edges of {low} and {high} Hz leave the spectrum of {bins} bins")
    out = np.zeros((bins, int(count)))
    for i, (left, centre, right) in enumerate(
        zip(points[:-2], points[1:-1], points[2:], strict=True)
    ):
        if centre == left:
            out[centre, i] = 1
        else:
            out[left : centre + 1, i] = np.arange(centre - left + 1) / (centre - left)
        out[centre:right, i] = np.arange(right - centre, 0, -1) / max(right - centre, 1)
    return out.astype(numpy_type(node.integer("output_datatype", 1)))
