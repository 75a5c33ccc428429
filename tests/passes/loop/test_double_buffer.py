from __future__ import annotations

from hypothesis import given, settings
from xdsl.dialects.func import FuncOp

from support.npu_passes import TILING, run_loops, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, space_of
from tilewright.passes.loop.double_buffer import buffer_bytes


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
