"""What stays in the scratchpad: it pays in the model, has room, and is where nothing else lives."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from xdsl.ir import Operation

from support.npu_passes import target
from support.random_chains import Chain, chains
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, NestOp
from tilewright.passes.loop.promotion import Candidate, Promotion, candidate, replaces

Rows = list[dict[int, int]]
SAME: Rows = [{0: 1}, {1: 1}]


def considered(segment: Segment, machine: Machine) -> tuple[Promotion, list[Candidate]]:
    ops = list(segment.block.ops)
    promotion = Promotion(ops, machine)
    buffers = [op for op in ops if isinstance(op, AllocOp) and "local" in op.attributes]
    found = [c for op in buffers if (c := candidate(op, promotion.order)) is not None]
    return promotion, found


@settings(max_examples=40, deadline=None)
@given(chains(), machines(2048, 65536))
def test_what_is_chosen_pays_and_has_room(chain: Chain, machine: Machine) -> None:
    promotion, found = considered(chain.segment, machine)
    chosen = promotion.choose(found)
    for c, address in chosen:
        assert promotion.floor <= address <= promotion.capacity - promotion.size(c)
        assert address % machine.alignment == 0
    for (a, at), (b, other) in combinations(chosen, 2):
        apart = at + promotion.size(a) <= other or other + promotion.size(b) <= at
        shared = max(a.first, b.first), min(a.last, b.last)
        in_place = shared[0] == shared[1] and promotion.ops[shared[0]] in promotion.in_place
        assert apart or shared[0] > shared[1] or in_place
    nests = [op for op in promotion.ops if isinstance(op, NestOp)]
    before = sum(promotion.cost(n, frozenset(), [], False) for n in nests)
    after = sum(promotion.cycles_of(n) for n in nests)
    assert after < before if chosen else after == before


def elementwise(segment: Segment, maps: tuple[Rows, Rows] = (SAME, SAME)) -> tuple[Operation, ...]:
    """Two buffers, and a nest that makes the second of the first."""
    x, y = segment.buffer([8, 8]), segment.buffer([8, 8])
    nest = segment.nest(
        [8, 8], [(x, maps[0], None, None)], (y, maps[1], None),
        accumulator=lambda c: c.table(c.block.args[0]),
    )  # fmt: skip
    assert isinstance(x.owner, Operation) and isinstance(y.owner, Operation)
    return x.owner, y.owner, nest


@pytest.mark.parametrize(("read", "whether"), [(SAME, True), ([{1: 1}, {0: 1}], False)])
def test_a_result_takes_the_place_of_what_is_read_element_by_element(
    read: Rows, whether: bool
) -> None:
    segment = Segment()
    *buffers, nest = elementwise(segment, (read, SAME))
    order = {op: i for i, op in enumerate(segment.block.ops)}
    old, new = (candidate(b, order) for b in buffers if isinstance(b, AllocOp))
    assert old is not None and new is not None
    assert replaces(nest, old, new) == whether
    assert not replaces(nest, new, old)


def test_the_border_is_what_windows_read_outside() -> None:
    segment = Segment()
    x, y = segment.buffer([8, 8]), segment.buffer([4, 8])
    window = [{0: 2, 2: 1}, {1: 1, 3: 3}]
    segment.nest(
        [4, 8, 3, 2], [(x, window, [-1, -2], 5)], (y, SAME, None), reduce="max", reduced=[2, 3]
    )
    order = {op: i for i, op in enumerate(segment.block.ops)}
    assert isinstance(x.owner, AllocOp)
    found = candidate(x.owner, order)
    assert found is not None
    # rows 2 i + k - 1 for i < 4, k < 3: from -1 to 7; columns j + 3 l - 2: from -2 to 8
    assert (found.low, found.high, found.fill) == ([1, 2], [0, 1], 5)
    assert found.shape == [9, 11]
    assert found.bordered


def test_tensors_that_fit_nowhere_stay_in_dram() -> None:
    machine = target("gemmini-16x16")
    segment = Segment()
    *_, nest = elementwise(segment)
    promotion = Promotion(list(segment.block.ops), machine)
    promotion.capacity = 64
    found = [candidate(op, promotion.order) for op in promotion.ops if isinstance(op, AllocOp)]
    assert promotion.choose([c for c in found if c is not None]) == []
    assert nest not in promotion.kept
