"""multicast: along levels of a grid, everybody whose position is the same on the others."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.dialects.multicast import receivers

GRIDS = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(GRIDS, st.data())
def test_by_positions(grid: list[int], data: st.DataObject) -> None:
    """Against positions looked at one by one; those that send to each other form groups."""
    levels = data.draw(st.integers(0, (1 << len(grid)) - 1))
    places = [tuple(int(i) for i in at) for at in np.ndindex(*grid)]
    fixed = [i for i in range(len(grid)) if levels and not levels >> i & 1]
    for core, here in enumerate(places):
        expected = [
            c
            for c, there in enumerate(places)
            if c != core and all(there[i] == here[i] for i in fixed)
        ]
        assert list(receivers(core, grid, levels)) == expected
        assert len(expected) == len(receivers(0, grid, levels))
        assert all(core in receivers(c, grid, levels) for c in expected)


@pytest.mark.parametrize(
    ("core", "grid", "levels", "expected"),
    [
        (0, (1,), 0, ()),
        (2, (4,), 0, (0, 1, 3)),
        (2, (4,), 1, (0, 1, 3)),
        (1, (2, 2), 0, (0, 2, 3)),
        (1, (2, 2), 1, (3,)),
        (1, (2, 2), 2, (0,)),
        (1, (2, 2), 3, (0, 2, 3)),
        (4, (3, 2), 1, (0, 2)),
        (4, (3, 2), 2, (5,)),
    ],
)
def test_examples(core: int, grid: tuple[int, ...], levels: int, expected: tuple[int, ...]) -> None:
    assert receivers(core, grid, levels) == expected


@given(GRIDS)
def test_all_levels_are_all_cores(grid: list[int]) -> None:
    everyone = receivers(0, grid)
    assert everyone == receivers(0, grid, (1 << len(grid)) - 1)
    assert len(everyone) == prod(grid) - 1
