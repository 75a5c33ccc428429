"""Footprints: the distinct bytes of a strided access, as few strided dimensions as possible.

    sizes [4, 3, 8] strides [16, 8, 8], 1-byte elements     ->     one run of 72 bytes

They are what race detection, poisoning and byte counting look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....dialects.constants import Array
from .expand import Dims, Expansion, Place


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of an access from `low` on, relative to element 0: runs as the innermost dim."""

    low: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    strides32: tuple[int, ...]
    """Strides in a shadow of 4-byte entries, one per byte."""


def footprint(dims: Dims, element: int) -> Span:
    """The bytes of an access; overlapping and adjoining dimensions merge where that is exact."""
    low = sum((n - 1) * s for n, s in dims if s < 0)
    run, outer = element, list[tuple[int, int]]()
    for size, stride in sorted(((n, abs(s)) for n, s in dims if n > 1 and s), key=lambda d: d[1]):
        if not outer and stride <= run:
            run += (size - 1) * stride
        elif outer and stride % outer[-1][1] == 0 and stride // outer[-1][1] <= outer[-1][0]:
            inner, step = outer[-1]
            outer[-1] = (inner + (size - 1) * (stride // step), step)
        else:
            outer.append((size, stride))
    outer.reverse()
    shape, strides = (*(n for n, _ in outer), run), (*(s for _, s in outer), 1)
    return Span(low, shape, strides, tuple(4 * s for s in strides))


class Access:
    """Footprints of one operand, per execution."""

    def __init__(self, place: Place):
        self.place = place
        self.fixed = None if place.in_dram else footprint(place.dims, place.element)
        self.cache: dict[object, Span | None] = {}

    def span(self, i: int) -> Span | None:
        """The footprint of execution `i`, relative to its address; None when it is empty."""
        if self.fixed is not None:
            return self.fixed
        key = self.place.clips[i]
        if key not in self.cache:
            dims = self.place.clipped(i)
            empty = any(n == 0 for n, _ in dims)
            self.cache[key] = None if empty else footprint(dims, self.place.element)
        return self.cache[key]


def shadow_view(shadow: Array, address: int, span: Span) -> Array:
    """The entries of `shadow` that an access at `address` touches; 1 or 4 bytes per byte."""
    begin = address + span.low
    if len(span.shape) == 1:
        return shadow[begin : begin + span.shape[0]]
    if shadow.itemsize == 1:
        return np.ndarray(span.shape, shadow.dtype, shadow.data, begin, span.strides)
    return np.ndarray(span.shape, shadow.dtype, shadow.data, begin * 4, span.strides32)


def used_bytes(expansion: Expansion) -> dict[str, int]:
    """Bytes of each memory up to the highest that the program touches."""
    used = {"spm": 0, "acc": 0, "dram": 0, "const": 0}
    for site in expansion.sites:
        for place in site.places:
            used[place.space] = max(used[place.space], place.top)
    return used
