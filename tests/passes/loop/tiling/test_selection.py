"""The search for tilings: what it finds fits, gets better, and never beats its bound."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings

from support.npu_passes import TILING, target, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import NestOp
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.tile_npu import TileNpuPass
from tilewright.passes.loop.tiling.candidates import attempts, candidates
from tilewright.passes.loop.tiling.selection import improving, select
from tilewright.passes.loop.tiling.work import Work, analyse


def works(segment: Segment, machine: Machine) -> list[Work]:
    return [analyse(op, machine).work for op in segment.module().walk() if isinstance(op, NestOp)]


def product(m: int, n: int, k: int) -> Segment:
    s = Segment()
    s.nest(
        [m, n, k],
        [
            (s.buffer([m, k]), [{0: 1}, {2: 1}], None, None),
            (s.weights([k, n]), [{2: 1}, {1: 1}], None, None),
        ],
        (s.buffer([m, n]), [{0: 1}, {1: 1}], None),
        reduce="add",
        reduced=[2],
        chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [n]),
    )
    return s


@settings(max_examples=60, deadline=None)
@given(segments(), machines())
def test_every_step_is_better_and_above_the_bound(segment: Segment, machine: Machine) -> None:
    for work in works(segment, machine):
        for cold in (False, True):
            found = list(improving(work, machine, machine.scratchpad.bytes, cold))
            assert all(a.cycles > b.cycles for a, b in pairwise(found))
            assert all(0 < t.bound <= t.cycles and t.gap >= 0 for t in found)
            chosen = select(work, machine, None, cold)
            assert chosen == (found[-1] if found else None)


@settings(max_examples=40, deadline=None)
@given(segments(), machines())
def test_tiles_are_candidates(segment: Segment, machine: Machine) -> None:
    for work in works(segment, machine):
        tiling = select(work, machine)
        assert tiling is None or any(
            all(
                t in candidates(work, d, machine, attempt, fine=True)
                or t in candidates(work, d, machine, attempt)
                for d, t in enumerate(tiling.tile)
            )
            for attempt in attempts(work)
        )


def test_a_layer_that_starts_cold_loads_its_weights_in_pieces() -> None:
    """Nothing hides the first load: behind another layer all weights come at once."""
    machine = target("tpu-v1")
    (work,) = works(product(128, 768, 768), machine)
    tiling = select(work, machine, None, cold=True)
    assert tiling is not None
    assert tiling.tile[1] < 768 or tiling.tile[2] < 768


def test_less_room_never_makes_it_faster() -> None:
    machine = target("gemmini-16x16")
    (work,) = works(product(256, 512, 512), machine)
    found = [select(work, machine, capacity) for capacity in (262144, 131072, 65536, 32768)]
    cycles = [t.cycles for t in found if t is not None]
    assert len(cycles) == 4 and all(a <= b * 1.001 for a, b in pairwise(cycles))


def test_tilings_are_told() -> None:
    """One row for each nest, of plain values; loops are the dimensions that are divided."""
    ctx = CompilerContext(machine=target("gemmini-16x16"))
    module = product(256, 512, 512).module()
    TileNpuPass().apply(ctx, module)
    (row,) = ctx.tilings
    assert row["domain"] == [256, 512, 512]
    assert {d for d in range(3) if row["tile"][d] < row["domain"][d]} == set(row["loops"])
    assert row["gap"] == round(row["gap"], 4) >= 0 and row["cycles"] >= row["bound"] > 0


def test_tiles_of_a_product_fit() -> None:
    """The passes that follow need no other tiles."""
    machine, module = target("gemmini-16x16"), product(256, 512, 512).module()
    tile(module, machine, TILING)
