"""Any tiling of a nest means the same, not only those that the cost model would choose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.npu_passes import run_loops, target
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import ForOp, NestOp
from tilewright.passes.loop.tile_nest import tile_nest
from tilewright.passes.loop.tiling.candidates import attempts, grid
from tilewright.passes.loop.tiling.model import Tiling, orders
from tilewright.passes.loop.tiling.work import analyse

from .tiling.test_selection import product


@settings(max_examples=40, deadline=None)
@given(segments(), machines(), st.data())
def test_any_tiling_means_the_same(segment: Segment, machine: Machine, data: st.DataObject) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    for nest in [op for op in module.walk() if isinstance(op, NestOp)]:
        info = analyse(nest, machine)
        attempt = data.draw(st.sampled_from(list(attempts(info.work))))
        tiles = grid(info.work, machine, attempt)
        at = data.draw(st.integers(0, len(tiles[0]) - 1))
        order = data.draw(st.sampled_from(orders(info.work)))
        tile_nest(nest, info, Tiling(tuple(int(t[at]) for t in tiles), order, 0.0))
        module.verify()
    assert (run_loops(module, arena, consts) == expected).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize("sizes", [(16, 32, 48), (8, 32, 48), (5, 10, 7), (16, 8, 48)])
def test_loops_are_those_of_the_tiling(order: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """A loop for each dimension that is divided, in the order asked for, reductions innermost."""
    domain, segment = (16, 32, 48), product(16, 32, 48)
    module = segment.module()
    (nest,) = [op for op in module.walk() if isinstance(op, NestOp)]
    tile_nest(nest, analyse(nest, target("gemmini-16x16")), Tiling(sizes, order, 0.0))
    loops = [op for op in module.walk() if isinstance(op, ForOp)]
    expected = [(domain[d], sizes[d]) for d in order if sizes[d] < domain[d]]
    assert [(loop.values.stop, loop.values.step) for loop in loops] == expected
