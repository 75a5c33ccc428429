"""Which cores a command that reaches other cores writes to.

The cores of a program form a grid of one or two levels (core loops, `npu.cores`).  A broadcast goes
along the levels of a bit mask: to the cores whose position differs from the sender's on these
levels only, or to all where the mask is 0.

    grid (2, 2), core 1 at (0, 1):  levels 0 -> cores 0 2 3,  levels 0b01 -> core 3,  0b10 -> core 0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def receivers(core: int, grid: Sequence[int], levels: int = 0) -> tuple[int, ...]:
    """The other cores that `core` of `grid` writes to.

    >>> receivers(1, (2, 2)), receivers(1, (2, 2), 1), receivers(1, (2, 2), 2)
    ((0, 2, 3), (3,), (0,))
    """
    numbers = np.arange(int(np.prod(grid))).reshape(tuple(grid))
    here = np.unravel_index(core, numbers.shape)
    reached = tuple(
        slice(None) if not levels or levels >> i & 1 else slice(int(at), int(at) + 1)
        for i, at in enumerate(here)
    )
    return tuple(int(c) for c in numbers[reached].flat if c != core)
