"""2:4-compressed weights: the one definition used by every level, the compiler and the simulator.

Of every four neighbours along one axis (the reduction) at most two are not zero.  Stored are, tile
by tile, two values of each four, then the places of these values among their four, two bits each:

    [5, 0, 0, -3,  0, 7, 0, 0]    ->    values [5, -3, 0, 7], places 0, 3 and 0, 1: index byte 0x4c

An index byte holds the places of eight weights, lowest bits first, so the axis is a multiple of 8
long, and a tile takes 5/8 of its bytes.  Values are laid out like the tile with the axis halved,
index bytes behind them with an eighth of it.  This is the format of NVIDIA's Ampere tensor cores
(A100 white paper, 2020; Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from .constants import Array

GROUP = 8
"""Weights along the axis whose places share a byte."""


_COUNT = np.array([code.bit_count() for code in range(16)])
_PLACES = np.array(
    [sorted(sorted(range(4), key=lambda i: ~code >> i & 1)[:2]) for code in range(16)]
)
"""By bit mask of the weights of a four that are not zero: how many, and the two to be stored."""


def _kept(array: Array, axis: int) -> Array:
    """Of each four along `axis`, which becomes the first, the bit mask of those not zero."""
    other = np.moveaxis(array, axis, 0) != 0
    one, two, three, four = (other[i::4].astype(np.uint8) << i for i in range(4))
    return one | two | three | four


def values_shape(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """Shape of the values of a tile of `shape`, compressed along `axis`."""
    return (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])


def index_shape(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """Shape of the index bytes of a tile of `shape`, compressed along `axis`."""
    return (*shape[:axis], shape[axis] // GROUP, *shape[axis + 1 :])


def compressed_bytes(size: int) -> int:
    """Bytes of `size` weights (a multiple of 8).

    >>> compressed_bytes(64)
    40
    """
    return size // GROUP * 5


def is_sparse(array: Array, axis: int) -> bool:
    """Whether `array` can be compressed along `axis`.

    A last group of less than four is filled up with zeros.
    """
    rest = -array.shape[axis] % 4
    if rest:
        array = np.pad(array, [(0, rest if i == axis else 0) for i in range(array.ndim)])
    return not array.size or int(_COUNT[_kept(array, axis)].max()) <= 2


def compress(tile: Array, axis: int) -> Array:
    """Values, then index bytes, as one run of bytes (int8).

    ValueError unless the axis is a multiple of 8 long and `is_sparse`.
    """
    if tile.shape[axis] % GROUP or not is_sparse(tile, axis):
        raise ValueError(f"a tile of {tile.shape} is not 2:4 sparse along axis {axis}")
    kept = _kept(tile, axis)
    fours = np.moveaxis(tile, axis, 0).reshape(-1, 4, *kept.shape[1:])
    places = np.moveaxis(_PLACES[kept], -1, 1)
    values = np.take_along_axis(fours, places, 1)
    nibbles = places[:, 0] | places[:, 1] << 2
    index = (nibbles[0::2] | nibbles[1::2] << 4).astype(np.uint8).view(np.int8)
    parts = (values.reshape(-1, *values.shape[2:]), index)
    return np.concatenate([np.moveaxis(p, 0, axis).reshape(-1) for p in parts])


def expand(values: Array, index: Array, axis: int) -> Array:
    """The weights (int16: both places of a four may be the same, and then add up)."""
    rest = _others(values.shape, axis)
    pairs = np.moveaxis(values, axis, 0).reshape(-1, 2, 1, *rest).astype(np.int16)
    packed = np.moveaxis(index, axis, 0).view(np.uint8)[:, None]
    shifts = np.arange(0, 8, 2).reshape(-1, *(1,) * len(rest))
    places = (packed >> shifts & 3).reshape(-1, 2, 1, *rest)
    here = places == np.arange(4).reshape(-1, *(1,) * len(rest))
    fours = np.where(here, pairs, 0).sum(axis=1, dtype=np.int16)
    return np.moveaxis(fours.reshape(-1, *rest), 0, axis)


def decode(stored: Array, shape: Sequence[int], axis: int) -> Array:
    """The tile of `shape` (int8) that `compress` has `stored`."""
    half = prod(shape) // 2
    values = stored[:half].reshape(values_shape(shape, axis))
    index = stored[half:].reshape(index_shape(shape, axis))
    return expand(values, index, axis).astype(np.int8)


def _others(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
