"""reuse: tensors in one place lie some nests apart, where there is room."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import UnitAttr

from support.npu_passes import target
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, NestOp
from tilewright.passes.loop.promotion import Candidate, Promotion, candidates_of
from tilewright.passes.loop.reuse import SHARE, spread
from tilewright.passes.loop.tiling.units import unrolls

Chosen = list[tuple[Candidate, int]]


def both(s: Segment, machine: Machine) -> tuple[Promotion, Chosen, Chosen]:
    """Tensors with addresses as they are chosen, and chosen anew."""
    ops = list(s.block.ops)
    promotion = Promotion(ops, machine)
    chosen = promotion.choose(candidates_of(ops, promotion))
    return promotion, chosen, list(spread(promotion, chosen))


@settings(max_examples=60, deadline=None)
@given(chains(), machines(2048, 65536), st.booleans())
def test_tensors_alive_together_lie_apart(chain: Chain, machine: Machine, one: bool) -> None:
    """Unless one takes the place of another, which it still does."""
    if one:
        machine = replace(machine, scratchpad=replace(machine.scratchpad, banks=1))
    promotion, chosen, apart = both(chain.segment, machine)
    assert [c for c, _ in apart] == [c for c, _ in chosen]
    for (old, new), (x, y) in zip(combinations(chosen, 2), combinations(apart, 2), strict=True):
        a, b = x[0], y[0]
        if a.first <= b.last and b.first <= a.last:
            meet = x[1] < y[1] + promotion.size(b) and y[1] < x[1] + promotion.size(a)
            assert (x[1] == y[1]) is (old[1] == new[1]) is meet
    assert all(address >= 0 for _, address in apart)


def sequence(count: int, size: int) -> Segment:
    """Look-ups one after the other."""
    s = Segment()
    x = s.buffer([size])
    for i in range(count):
        y = s.buffer([size])
        s.nest(
            [size],
            [(x, rows(0), None, None)],
            (y, rows(0), None),
            accumulator=lambda k: k.table(k.block.args[0]),
        )
        if i < count - 1:
            assert isinstance(y.owner, AllocOp)
            y.owner.attributes["local"] = UnitAttr()
        x = y
    return s


@pytest.mark.parametrize(("tensors", "distance"), [(64, 9), (20, 9), (12, 5), (8, 3), (6, 2)])
def test_as_far_apart_as_there_is_room(tensors: int, distance: int) -> None:
    """Half of a scratchpad that holds so many tensors is for them."""
    machine, size = target("auto-200"), 4096
    small = replace(machine, cores=1, scratchpad=replace(machine.scratchpad, bytes=tensors * size))
    s = sequence(20, size)
    promotion, chosen, apart = both(s, small)
    assert unrolls(small) and len(apart) == 19
    order = [i for i, op in enumerate(promotion.ops) if isinstance(op, NestOp)]
    uses: dict[int, list[Candidate]] = {}
    for c, address in sorted(apart, key=lambda item: item[0].first):
        uses.setdefault(address, []).append(c)
    gaps = [
        order.index(after.first) - order.index(before.last)
        for of in uses.values()
        for before, after in pairwise(of)
    ]
    assert min(gaps) == distance
    used = promotion.capacity - min(address for _, address in apart)
    before = promotion.capacity - min(address for _, address in chosen)
    assert used <= max(before, SHARE * promotion.capacity)


def test_where_nothing_is_reordered_nothing_changes() -> None:
    _, chosen, apart = both(sequence(5, 1024), target("gemmini-16x16"))
    assert apart == chosen
