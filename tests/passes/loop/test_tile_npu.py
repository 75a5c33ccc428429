from hypothesis import given, reject, settings
from hypothesis import strategies as st
from support.npu_passes import run_loops, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import CapacityError


@settings(max_examples=60, deadline=None)
@given(segments(), machines(), st.data())
def test_tiling_preserves_meaning(segment: Segment, machine: Machine, data: st.DataObject) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    try:
        tile(module, machine, ("tile-npu",))
    except CapacityError:
        reject()
    assert (run_loops(module, arena, consts) == expected).all()
