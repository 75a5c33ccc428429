from __future__ import annotations

from hypothesis import given, settings

from support.npu_passes import run_loops, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine


@settings(max_examples=30, deadline=None)
@given(segments(), machines())
def test_hoisting_preserves_meaning(segment: Segment, machine: Machine) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, ("tile-npu", "hoist-copies"))
    assert (run_loops(module, arena, consts) == expected).all()
