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
from ...loop import Linear


def read_view(x: Array, map: Linear, domain: Sequence[int], fill: float | int | None) -> Array:
    """The elements of `x` at `map` over `domain`, broadcastable to it; `fill` outside."""
    if 0 in domain:
        return np.zeros([min(e, 1) if not _used(map, d) else e for d, e in enumerate(domain)], x.dtype)
    consts = list(map.consts)
    if fill is not None:
        bounds = map.bounds(domain)
        widths = [(max(-low, 0), max(high - n + 1, 0)) for (low, high), n in zip(bounds, x.shape, strict=True)]
        if any(a or b for a, b in widths):
            x = np.pad(x, widths, constant_values=np.asarray(fill).astype(x.dtype))
            consts = [c + a for c, (a, _) in zip(consts, widths, strict=True)]
    strides, start = Linear(map.coeffs, tuple(consts), map.num_dims).flat(x.strides)
    extents = [e if _used(map, d) else 1 for d, e in enumerate(domain)]
    return as_strided(_from(x, start), extents, strides, writeable=False)


def write_view(y: Array, map: Linear, domain: Sequence[int], parallel: Sequence[int]) -> Array:
    """The (writable) elements of `y` at `map`, over the parallel dimensions of `domain`."""
    strides, start = map.flat(y.strides)
    return as_strided(_from(y, start), [domain[d] for d in parallel], [strides[d] for d in parallel])


def _used(map: Linear, dim: int) -> bool:
    return any(row[dim] for row in map.coeffs)


def _from(x: Array, start: int) -> Array:
    """`x` from the element `start` bytes after its first (0-d, same memory)."""
    if x.size == 0 or not start:
        return x if x.size == 0 else x[(slice(0, 1),) * x.ndim]
    index: list[slice] = []
    rest = start
    for axis in np.argsort([-abs(s) for s in x.strides], kind="stable"):
        del axis
    for stride in x.strides:
        step = rest // stride if stride else 0
        index.append(slice(step, step + 1))
        rest -= step * stride
    assert rest == 0
    return x[tuple(index)]
