"""promote-buffers: tensors that stay on chip mean the same, fit, and save transfers."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import SSAValue

from support.npu_passes import TARGETS, run_loops, run_programs, target, tile
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Scalars, Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, CopyOp, FillOp, NestOp, space_of
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop import padding
from tilewright.passes.loop.promote_buffers import PromoteBuffersPass
from tilewright.passes.loop.promotion import Candidate, Promotion, candidate, replaces
from tilewright.passes.loop.tile_npu import npu_segments
from tilewright.passes.loop.tiling.residents import residents_of

AFTER = ("tile-npu", "hoist-copies", "unroll-tiles", "double-buffer", "lower-to-npu")


def resident(module: ModuleOp) -> list[AllocOp]:
    """Tensors that stay in the scratchpad."""
    return [
        op
        for op in module.walk()
        if isinstance(op, AllocOp) and op.offset is not None and space_of(op.result) == "spm"
    ]


def check(chain: Chain, machine: Machine) -> None:
    """Meaning is kept at each step down to commands, wherever tiling alone succeeds."""
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    tile(module.clone(), machine, ("tile-npu",))
    for name in ("promote-buffers", *AFTER[:-1]):
        tile(module, machine, (name,))
        assert (chain.visible(run_loops(module, arena, consts)) == expected).all(), name
    tile(module, machine, AFTER[-1:])
    for name in ("allocate-scratchpad", "insert-sync"):
        assert (chain.visible(run_programs(module, arena, consts)) == expected).all(), name
        tile(module, machine, (name,))
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()


@settings(max_examples=60, deadline=None)
@given(chains(), machines(2048, 65536))
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=15, deadline=None)
@given(chain=chains())
def test_meaning_is_kept(name: str, chain: Chain) -> None:
    check(chain, target(name))


@settings(max_examples=40, deadline=None)
@given(chains(), machines(2048, 16384))
def test_resident_tensors_do_not_overlap(chain: Chain, machine: Machine) -> None:
    module = chain.segment.module()
    tile(module, machine, ("promote-buffers",))
    found, _ = residents_of(npu_segments(module)[0])
    for r in found:
        assert r.address >= 0 and r.address % machine.alignment == 0
        assert r.address + r.size <= machine.scratchpad.bytes
    for a, b in combinations(found, 2):
        apart = a.address + a.size <= b.address or b.address + b.size <= a.address
        in_place = (a.address, a.size) == (b.address, b.size) and (
            a.last == b.first or b.last == a.first
        )
        assert apart or in_place or not a.alive(b.first, b.last)


def _convolution(
    s: Segment, x: SSAValue, kernel: int, pad: int, fill: int, stride: int = 1
) -> SSAValue:
    _, h, w, c = shape_of(x)
    out = [1, *((n + 2 * pad - kernel) // stride + 1 for n in (h, w)), 16]
    y = s.buffer(out)
    s.nest(
        [*out, kernel, kernel, c],
        [
            (x, [{0: 1}, {1: stride, 4: 1}, {2: stride, 5: 1}, {6: 1}], [0, -pad, -pad, 0], fill),
            (s.weights([kernel, kernel, c, 16]), rows(4, 5, 6, 3), None, None),
        ],
        (y, rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(fill, 0),
        chain=lambda k: k.requantize(k.block.args[0], [{3: 1}], [16]),
    )
    return y


def _layers(*readers: tuple[int, int, int, int]) -> Segment:
    """A convolution whose result is local to others: (kernel, padding, fill, stride) of each."""
    s = Segment()
    y = _convolution(s, s.buffer([1, 14, 14, 16]), 3, 1, 3)
    assert isinstance(y.owner, AllocOp)
    y.owner.attributes["local"] = UnitAttr()
    for kernel, pad, fill, stride in readers:
        _convolution(s, y, kernel, pad, fill, stride)
    return s


def _promoted(s: Segment, machine: Machine) -> tuple[ModuleOp, list[AllocOp]]:
    module = s.module()
    tile(module, machine, ("promote-buffers",))
    return module, resident(module)


def test_the_border_is_the_widest_of_all_readers() -> None:
    module, [found] = _promoted(_layers((3, 1, 3, 1), (5, 2, 3, 1), (1, 0, 7, 2)), target("tpu-v1"))
    assert shape_of(found.result) == (1, 18, 18, 16)
    fills = [op for op in module.walk() if isinstance(op, FillOp)]
    assert [shape_of(f.buffer) for f in fills] == [
        (1, 2, 18, 16), (1, 2, 18, 16), (1, 14, 2, 16), (1, 14, 2, 16),
    ]  # fmt: skip


def test_strides_need_less_of_a_border_at_the_end() -> None:
    _, [found] = _promoted(_layers((3, 1, 3, 2)), target("tpu-v1"))
    assert shape_of(found.result) == (1, 15, 15, 16)


def test_readers_that_disagree_on_the_border_keep_a_tensor_in_dram() -> None:
    assert not _promoted(_layers((3, 1, 3, 1), (3, 1, 4, 1)), target("tpu-v1"))[1]


def test_what_others_use_is_not_promoted() -> None:
    s = Segment()
    _convolution(s, _convolution(s, s.buffer([1, 14, 14, 16]), 3, 1, 3), 3, 1, 3)
    assert not _promoted(s, target("tpu-v1"))[1]


def test_promotion_can_be_switched_off() -> None:
    module = _layers((3, 1, 3, 1)).module()
    before = str(module)
    ctx = CompilerContext(machine=target("tpu-v1"))
    PromoteBuffersPass(enable=False).apply(ctx, module)
    assert str(module) == before


def _copies(module: ModuleOp) -> int:
    return sum(isinstance(op, CopyOp) for op in module.walk())


def test_a_resident_tensor_is_neither_stored_nor_loaded() -> None:
    s = _layers((3, 1, 3, 1))
    apart = s.module()
    kept = apart.clone()
    tile(apart, target("tpu-v1"), ("tile-npu",))
    tile(kept, target("tpu-v1"), ("promote-buffers", "tile-npu"))
    assert _copies(kept) == _copies(apart) - 2


def _block() -> tuple[Segment, int]:
    """A residual block: convolution, convolution and sum with the first one's result, reader.

    Also returns where in the arena the last result lies; nothing lies behind it.
    """
    s = Segment()
    x = _convolution(s, s.buffer([1, 14, 14, 16]), 1, 0, 3)
    y, z = _convolution(s, x, 3, 1, 3), s.buffer([1, 14, 14, 16])
    same = rows(0, 1, 2, 3)
    scale = {"ma": 1 << 20, "mb": 700_000, "multiplier": 1 << 30, "shift": 50}

    def total(k: Scalars) -> SSAValue:
        sides = [k.block.args[0], k.operand(x, same)]
        return k.table(k.apply("qadd", sides, za=3, zb=-4, zp=7, **scale))

    s.nest([1, 14, 14, 16], [(y, same, None, None)], (z, same, None), accumulator=total)
    for value in (x, y, z):
        assert isinstance(value.owner, AllocOp)
        value.owner.attributes["local"] = UnitAttr()
    out = _convolution(s, z, 1, 0, 3).owner
    assert isinstance(out, AllocOp) and out.offset is not None
    return s, out.offset.value.data


def _scratchpad(size: int) -> Machine:
    machine = target("tpu-v1")
    return replace(machine, scratchpad=replace(machine.scratchpad, bytes=size, banks=1))


@pytest.mark.parametrize(("size", "shared"), [(20480, 0), (11264, 1)])
def test_a_sum_takes_the_place_of_its_shortcut_where_room_is_short(size: int, shared: int) -> None:
    (s, offset), machine = _block(), _scratchpad(size)
    module, (arena, consts) = s.module(), s.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, ("promote-buffers",))
    found = [op.offset for op in resident(module)]
    assert len(found) - len(set(found)) == shared
    tile(module, machine, (*AFTER, "prefetch-loads", "allocate-scratchpad", "insert-sync"))
    assert (run_programs(module, arena, consts) == expected)[offset:].all()


@given(st.sampled_from([2048, 4096, 6144]))
@settings(max_examples=3, deadline=None)
def test_tiny_scratchpads_keep_what_fits(size: int) -> None:
    s = _layers((3, 1, 3, 1), (1, 0, 3, 2))
    machine = _scratchpad(size)
    module, (arena, consts) = s.module(), s.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, ("promote-buffers", *AFTER))
    low, high = 3200, 3200 + 14 * 14 * 16  # the local tensor
    got = run_programs(module, arena, consts)
    assert (got[:low] == expected[:low]).all() and (got[high:] == expected[high:]).all()


def _look_ups(height: int) -> tuple[Segment, list[Candidate]]:
    """Two look-ups on `height` x 16, and their tensors."""
    s, same = Segment(), [{0: 1}, {1: 1}]
    tensors = [s.buffer([height, 16]) for _ in range(3)]
    for x, y in pairwise(tensors):
        s.nest(
            [height, 16],
            [(x, same, None, None)],
            (y, same, None),
            accumulator=lambda k: k.table(k.block.args[0]),
        )
    order = {op: i for i, op in enumerate(s.block.ops)}
    found = [candidate(op, order) for op in s.block.ops if isinstance(op, AllocOp)]
    return s, [c for c in found if c is not None]


def test_a_plan_costs_what_changes_in_the_nests() -> None:
    s, (_, middle, _) = _look_ups(8)
    machine = _scratchpad(20480)
    promotion = Promotion(list(s.block.ops), machine)
    address = promotion.capacity - promotion.size(middle)
    plan = promotion.plan(middle, address, frozenset())
    assert plan is not None and len(plan.changes) == 2
    saved = [promotion.cycles_of(nest) - cost for nest, (_, cost) in plan.changes.items()]
    assert plan.cost == -sum(saved) and min(saved) > 0


def test_padded_tensors_take_each_others_place() -> None:
    """If both have the same border: rows 9 to 11, which the second nest reads and writes."""
    s, found = _look_ups(9)
    first, second = (op for op in s.block.ops if isinstance(op, NestOp))
    assert replaces(second, found[1], found[2])
    padding.pad(second, 0, 4)
    order = {op: i for i, op in enumerate(s.block.ops)}
    borders = [c for op in order if isinstance(op, AllocOp) and (c := candidate(op, order))]
    assert [c.shape for c in borders] == [[9, 16], [12, 16], [12, 16]]
    assert [c.written for c in borders] == [[0, 0], [0, 0], [3, 0]]
    assert replaces(second, borders[1], borders[2])
    assert not replaces(first, borders[0], borders[1])
