"""Bounds that hold where the data of a model decides how much is allocated or computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .registry import HostError

BYTE_LIMIT = 1 << 32
"""Most bytes of one tensor that a host operator makes."""

STEP_LIMIT = 1 << 22
"""Most iterations of a Loop: a loop whose condition never fails must end."""


def checked_shape(dims: Iterable[Any], itemsize: int = 8) -> tuple[int, ...]:
    """`dims` as a shape; HostError if one is negative or if the tensor would be too large."""
    shape = tuple(int(dim) for dim in dims)
    total = itemsize
    for dim in shape:
        if dim < 0:
            raise HostError(f"the shape {list(shape)} has a negative dimension")
        total *= dim
    if total > BYTE_LIMIT:
        raise HostError(
            f"a tensor of shape {list(shape)} takes {total} bytes, more than {BYTE_LIMIT}"
        )
    return shape
