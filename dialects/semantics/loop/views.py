"""Access maps as strided numpy views.

A linear map over a domain of extents E is a view of shape E whose stride along a dimension is the
sum of coefficient times axis stride.  Dimensions that a map does not use get extent 1, so that
work on them is shared by broadcasting.  Reads outside the extents see a padded copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...constants import Array
from ...loop import Linear, row_major_strides


def read_view(x: Array, map: Linear, domain: Sequence[int], fill: float | int | None) -> Array:
    """The elements of `x` at `map` over `domain`, broadcastable to it; `fill` outside."""
    extents = [e if _used(map, d) else 1 for d, e in enumerate(domain)]
    if 0 in extents or 0 in domain:
        return np.zeros([min(e, n) for e, n in zip(extents, domain, strict=True)], x.dtype)
    consts = map.consts
    if fill is not None:
        pairs = list(zip(map.bounds(domain), x.shape, strict=True))
        widths = [(max(-low, 0), max(high - n + 1, 0)) for (low, high), n in pairs]
        if any(a or b for a, b in widths):
            x = np.pad(x, widths, constant_values=np.asarray(fill).astype(x.dtype))
            consts = tuple(c + a for c, (a, _) in zip(consts, widths, strict=True))
    x = np.ascontiguousarray(x).reshape(x.shape)  # which makes a scalar an array of rank 1
    return _strided(x, Linear(map.coeffs, consts, map.num_dims), range(len(domain)), extents)


def write_view(y: Array, map: Linear, domain: Sequence[int], parallel: Sequence[int]) -> Array:
    """The (writable) elements of `y` at `map`, over the parallel dimensions.

    `y` may be a view itself: a subview of a larger buffer.
    """
    extents = [domain[d] for d in parallel]
    if 0 in extents:
        return np.empty(extents, y.dtype)
    strides, _ = map.flat(y.strides)
    first = y[(*(slice(c, None) for c in map.consts), ...)]
    return as_strided(first, extents, [strides[d] for d in parallel])


def _used(map: Linear, dim: int) -> bool:
    return any(row[dim] for row in map.coeffs)


def _strided(x: Array, map: Linear, dims: Sequence[int], extents: Sequence[int]) -> Array:
    strides, start = map.flat(row_major_strides(x.shape))
    if 0 in extents:
        return np.empty(extents, x.dtype)
    flat = x.reshape(-1)
    return as_strided(flat[start:], extents, [strides[d] * x.itemsize for d in dims])
