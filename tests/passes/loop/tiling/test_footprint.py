from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tilewright.dialects.loop import Linear
from tilewright.passes.loop.tiling.bounds import distinct
from tilewright.passes.loop.tiling.footprint import tile_box, whole_dims


@st.composite
def _maps(draw: st.DrawFn) -> tuple[Linear, list[int], list[int]]:
    dims, rank = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = [
        {d: draw(st.integers(-3, 3)) for d in range(dims) if draw(st.booleans())}
        for _ in range(rank)
    ]
    tile = [draw(st.integers(1, 4)) for _ in range(dims)]
    return (
        Linear.of(rows, dims, [draw(st.integers(-3, 3)) for _ in rows]),
        tile,
        [draw(st.integers(0, 5)) for _ in range(dims)],
    )


@given(_maps())
def test_a_box_holds_what_the_tile_touches(case: tuple[Linear, list[int], list[int]]) -> None:
    map, tile, origin = case
    box = tile_box(map, tile)
    start = [
        low + sum(a * o for a, o in zip(row, origin, strict=True))
        for low, row in zip(box.low, map.coeffs, strict=True)
    ]
    for point in itertools.product(*(range(t) for t in tile)):
        inside = box.local(point)
        assert all(0 <= i < n for i, n in zip(inside, box.box, strict=True))
        reached = tuple(s + i * step for s, i, step in zip(start, inside, box.steps, strict=True))
        assert reached == map([p + o for p, o in zip(point, origin, strict=True)])


@given(_maps())
def test_distinct_elements(case: tuple[Linear, list[int], list[int]]) -> None:
    map, domain, _ = case
    shape = tuple([6] * map.rank)
    points = itertools.product(*(range(n) for n in domain))
    reached = {
        p for p in map_all(map, points) if all(0 <= i < n for i, n in zip(p, shape, strict=True))
    }
    assert distinct(map, tuple(domain), shape) <= len(reached)
    used = [d for row in map.coeffs for d, a in enumerate(row) if a and domain[d] > 1]
    if len(used) == len(set(used)):
        assert distinct(map, tuple(domain), shape) == len(reached)


def map_all(map: Linear, points: itertools.product[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [map(p) for p in points]


def test_split_dimensions_of_a_resize_stay_whole() -> None:
    dense = Linear.of([{0: 2, 1: 1}], 2)
    assert whole_dims(dense, [5, 2]) == ({1}, set(), {0})
    gaps = Linear.of([{0: 3, 1: 1}], 2)
    assert whole_dims(gaps, [5, 2]) == (set(), {1}, set())
