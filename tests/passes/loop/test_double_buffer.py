from __future__ import annotations

import pytest
from hypothesis import given, settings
from xdsl.dialects.func import FuncOp
from xdsl.parser import Parser

from support.npu_passes import TILING, run_loops, target, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, space_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.double_buffer import DoubleBufferPass, buffer_bytes


@settings(max_examples=30, deadline=None)
@given(segments(), machines())
def test_slots_fit_and_preserve_meaning(segment: Segment, machine: Machine) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, TILING)
    assert (run_loops(module, arena, consts) == expected).all()
    for space, size in (("spm", machine.scratchpad.bytes), ("acc", machine.accumulator.bytes)):
        allocs = [
            op for op in module.walk() if isinstance(op, AllocOp) and space_of(op.result) == space
        ]
        used = sum(
            buffer_bytes(a.result, machine) * (a.slots.value.data if a.slots else 1) for a in allocs
        )
        assert used <= size
    for alloc in (op for op in module.walk() if isinstance(op, AllocOp)):
        assert alloc.slots is None or not isinstance(alloc.parent_op(), FuncOp)


@pytest.mark.parametrize(("rounds", "slots"), [(2, 2), (3, 3), (6, 4)])
def test_sums_have_no_more_slots_than_loops_have_rounds(rounds: int, slots: int) -> None:
    """Four hide what the array of auto-200 takes to drain; loops in a row then share the memory."""
    loop = f"loop.for %i = 0 to {rounds} step 1"
    text = f"""
    func.func @npu_segment_0() {{
      {loop} {{
        %acc = loop.alloc : memref<4x8xi32, "acc">
        loop.fill %acc with 0 : i64 : memref<4x8xi32, "acc">
      }}
      func.return
    }}"""
    module = Parser(CompilerContext(), text).parse_module()
    DoubleBufferPass().apply(CompilerContext(machine=target("auto-200")), module)
    [alloc] = [op for op in module.walk() if isinstance(op, AllocOp)]
    assert alloc.slots is not None and alloc.slots.value.data == slots
