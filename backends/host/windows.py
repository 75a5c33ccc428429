"""Sliding windows in any number of dimensions: geometry, and views that copy nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .limits import checked_shape
from .registry import Call, HostError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Geometry:
    """Windows over spatial axes: one entry per axis in every field."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of a window with its dilation."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def per_axis(call: Call, name: str, rank: int, default: int) -> tuple[int, ...]:
    """An attribute with one number per spatial axis."""
    values = tuple(int(v) for v in call.attr(name) or [default] * rank)
    if len(values) != rank or min(values, default=1) < 1:
        raise HostError(f"the attribute {name!r} is {list(values)} for {rank} spatial axes")
    return values


def geometry(call: Call, dims: Sequence[int], kernel: Sequence[int]) -> Geometry:
    """Windows as the attributes of a pooling or convolution describe them."""
    rank = len(dims)
    if len(kernel) != rank:
        raise HostError(f"a kernel of shape {list(kernel)} for {rank} spatial axes")
    strides = per_axis(call, "strides", rank, 1)
    dilations = per_axis(call, "dilations", rank, 1)
    pads = [int(p) for p in call.attr("pads") or [0] * 2 * rank]
    auto, ceil = call.attr("auto_pad", "NOTSET"), bool(call.attr("ceil_mode", 0))
    if len(pads) != 2 * rank:
        raise HostError(f"{len(pads)} pads for {rank} spatial axes")
    before, after, out = list(pads[:rank]), list(pads[rank:]), [0] * rank
    for i, extent in enumerate(dims):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out[i] = -(-extent // strides[i])
            total = max((out[i] - 1) * strides[i] + reach - extent, 0)
            before[i] = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after[i] = total - before[i]
            continue
        if auto == "VALID":
            before[i] = after[i] = 0
        room = extent + before[i] + after[i] - reach
        if room < 0:
            raise HostError(f"a window of {reach} on a padded axis of {room + reach} elements")
        out[i] = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
        if ceil and (out[i] - 1) * strides[i] >= extent + before[i]:
            out[i] -= 1  # a window that would start in the padding at the end
    return Geometry(
        tuple(kernel), strides, dilations, tuple(before), tuple(after), checked_shape(out, 1)
    )


def padded(x: Array, g: Geometry, fill: Any) -> Array:
    """`x[N, C, *dims]` padded so that every window lies inside, with `fill`; negative pads crop."""
    dims = x.shape[2:]
    ends = [(o - 1) * s + r for o, s, r in zip(g.out, g.strides, g.reach, strict=True)]
    shape = [max(d + b + a, e) for d, b, a, e in zip(dims, g.before, g.after, ends, strict=True)]
    out = np.full(checked_shape([*x.shape[:2], *shape], x.dtype.itemsize), fill, x.dtype)
    target = tuple(
        slice(max(b, 0), max(b, 0) + d + min(b, 0)) for b, d in zip(g.before, dims, strict=True)
    )
    source = tuple(slice(max(-b, 0), None) for b in g.before)
    out[(..., *target)] = x[(..., *source)]
    return out


def windows(x: Array, g: Geometry) -> Array:
    """A view `[N, C, *out, *kernel]` of a padded array."""
    steps = x.strides[2:]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], *g.out, *g.kernel),
        (
            *x.strides[:2],
            *(s * n for s, n in zip(steps, g.strides, strict=True)),
            *(s * n for s, n in zip(steps, g.dilations, strict=True)),
        ),
        writeable=False,
    )


def tap(g: Geometry, position: Sequence[int]) -> tuple[slice, ...]:
    """The elements of a padded array that all windows have at one position of the kernel."""
    starts = [p * d for p, d in zip(position, g.dilations, strict=True)]
    return tuple(
        slice(start, start + (o - 1) * s + 1, s)
        for start, o, s in zip(starts, g.out, g.strides, strict=True)
    )
