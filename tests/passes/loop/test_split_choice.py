"""distribute: splits are chosen for all nests together, by what cores would have to exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from xdsl.dialects.builtin import i8

from support.core_segments import with_cores
from support.npu_programs import machine
from support.random_chains import rows
from support.segments import Segment
from tilewright.dialects.loop import NestOp, ReshapeOp
from tilewright.dialects.types import memref, shape_of
from tilewright.passes.loop.distribute import Edge, blocks, candidates, choose, edges

from .test_distribute import convolution


@pytest.mark.parametrize(
    ("shape", "grid", "expected"),
    [
        ([1, 4, 5, 6], (2,), [(1,), (2,), (3,)]),
        ([5, 7, 11, 13], (4,), [(1,), (2,), (3,)]),  # 5 would be padded to 8
        ([1, 197, 1, 3], (2, 2), [(1, 1)]),
        ([1, 7, 1, 1], (2, 2), [(1, 1)]),
        ([1, 6, 1, 4], (2, 2), [(1, 3), (3, 1), (3, 3)]),  # 6 divides by 2, and 4 x 2 is too many
    ],
)
def test_candidates_divide_or_are_padded(
    shape: Sequence[int], grid: tuple[int, ...], expected: list[tuple[int, ...]]
) -> None:
    s, same = Segment(), rows(0, 1, 2, 3)
    nest = s.nest(shape, [(s.buffer(shape), same, None, None)], (s.buffer(shape), same, None))
    assert candidates(nest, grid) == expected


def matrices(*shapes: tuple[int, int]) -> Segment:
    """Look-ups, one after the other."""
    s = Segment()
    x = s.buffer(shapes[0])
    for m, n in shapes:
        if shape_of(x) != (m, n):
            alias = ReshapeOp(x, memref([m, n], i8, "dram"))
            s.block.add_op(alias)
            x = alias.result
        y, same = s.buffer([m, n]), rows(0, 1)
        s.nest(
            [m, n],
            [(x, same, None, None)],
            (y, same, None),
            accumulator=lambda k: k.table(k.block.args[0]),
        )
        x = y
    return s


def nests_of(s: Segment) -> list[NestOp]:
    return [op for op in s.block.ops if isinstance(op, NestOp)]


def test_nests_with_windows_and_what_they_read_are_not_blocked() -> None:
    s = Segment()
    x, y, z, out = (s.buffer([1, 8, 8, 8]) for _ in range(4))
    convolution(s, x, y, kernel=1, pad=0)
    convolution(s, y, z, kernel=3)
    convolution(s, z, out, kernel=1, pad=0)
    first, second, third = nests_of(s)
    assert blocks([first, second, third]) == {third}
    assert blocks([first]) == {first}


def test_edges_are_tensors_between_nests() -> None:
    """64 x 32 bytes over a network of 64 bytes a cycle, 3 cycles away."""
    target = with_cores(machine(1 << 16, 1 << 14), 4)
    one, two = nests_of(matrices((64, 32), (64, 32)))
    [edge] = edges([one, two], target)
    assert (edge.producer, edge.reader, edge.cycles) == (one, two, 64 * 32 / 64 + 3)
    assert edge.map == two.linear_maps[0]
    one, two = nests_of(matrices((64, 32), (32, 64)))
    [edge] = edges([one, two], target)
    assert edge.map is None


def test_exchange_is_free_where_cores_read_what_they_made() -> None:
    one, two = nests_of(matrices((64, 32), (64, 32)))
    both, edge = {one, two}, Edge(one, two, two.linear_maps[0], 7.0)
    assert edge.exchange((0, 1), (0, 1), both) == 0.0
    assert edge.exchange((0, 1), (1, 0), both) == 7.0
    assert edge.exchange((0, 1), (), both) == 7.0
    assert edge.exchange((), (0, 1), both) == 0.0  # every core has all of it
    assert edge.exchange((0, 1), (0, 1), {one}) == 7.0  # tiles go round the cores
    assert replace(edge, map=None).exchange((0, 1), (0, 1), both) == 7.0


def test_splits_are_chosen_together() -> None:
    """The middle nest alone would divide columns; what it saves is less than two exchanges."""
    one, two, three = nests_of(matrices((64, 32), (64, 32), (64, 32)))
    links = [Edge(a, b, b.linear_maps[0], 10.0) for a, b in ((one, two), (two, three))]
    costs = {
        one: {(0,): 1.0, (1,): 50.0},
        two: {(0,): 9.0, (1,): 1.0},
        three: {(0,): 1.0, (1,): 50.0},
    }
    assert set(choose(costs, links, {one, two, three}).values()) == {(0,)}
    cheap = [replace(link, cycles=3.0) for link in links]
    assert choose(costs, cheap, {one, two, three}) == {one: (0,), two: (1,), three: (0,)}


def test_readers_of_one_tensor_share_its_exchange() -> None:
    """It is sent once to both, so neither gains by a split of its own."""
    one, two, three = nests_of(matrices((64, 32), (64, 32), (64, 32)))
    links = [Edge(one, b, b.linear_maps[0], 10.0) for b in (two, three)]
    costs = {
        one: {(0,): 1.0, (1,): 30.0},
        two: {(0,): 8.0, (1,): 1.0},
        three: {(0,): 8.0, (1,): 1.0},
    }
    assert choose(costs, links, {one, two, three}) == {one: (0,), two: (1,), three: (1,)}
