"""Segments are the maximal runs of nests on one device, in order."""

from __future__ import annotations

from support.loop_programs import Program, check_stages
from tilewright.dialects.graph import MapOp, place
from tilewright.passes.base import main_function
from tilewright.passes.loop.segments import segments


def test_runs_of_each_device() -> None:
    p = Program()
    y = p.input(p.floats(4))
    for device in ("npu", "npu", "cpu", None, "npu"):
        op = MapOp("neg", [y])
        if device:
            place(op, device)
        y = p.add(op)
    module = check_stages(p.module([y]), p.ctx, p.inputs)
    found = [(s.kind, s.index, len(s.ops)) for s in segments(main_function(module))]
    assert found == [("npu", 0, 2), ("cpu", 1, 2), ("npu", 2, 1)]
