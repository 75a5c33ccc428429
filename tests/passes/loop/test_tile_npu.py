from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from support.npu_passes import run_loops, run_programs, tile
from support.random_chains import rows
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import CapacityError
from tilewright.passes.loop import tile_npu
from tilewright.passes.loop.tile_npu import following, piece_by_piece
from tilewright.passes.loop.tiling.selection import select
from tilewright.passes.loop.tiling.work import analyse, keep


@settings(max_examples=50, deadline=None)
@given(segments(), machines())
def test_tiling_preserves_meaning(segment: Segment, machine: Machine) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, ("tile-npu",))
    assert (run_loops(module, arena, consts) == expected).all()


def _gemmini() -> Machine:
    machine = load_target("gemmini-16x16")
    assert machine is not None
    return machine


GEMMINI = _gemmini()


def _fully_connected(inputs: int, outputs: int, *, requantize: bool = True) -> Segment:
    s = Segment()
    x, w = s.buffer([1, inputs]), s.weights([inputs, outputs])
    y = s.buffer([1, outputs])
    s.nest(
        [1, outputs, inputs],
        [(x, [{0: 1}, {2: 1}], None, None), (w, [{2: 1}, {1: 1}], None, None)],
        (y, [{0: 1}, {1: 1}], None),
        reduce="add",
        reduced=[2],
        zero_points=(3, 0),
        chain=lambda c: (
            c.requantize(c.block.args[0], [{1: 1}], [outputs])
            if requantize
            else c.apply("clip", [c.requantize(c.block.args[0], [{1: 1}], [outputs])], min=0, max=9)
        ),
    )
    return s


def test_large_fully_connected_layers_split_the_reduction() -> None:
    module = _fully_connected(25088, 4096).module()
    tile(module, GEMMINI, ("tile-npu", "hoist-copies", "double-buffer"))
    text = str(module)
    assert "accumulate" in text and text.count("loop.for") == 2


def _maximum() -> Segment:
    """Of 64 x 64 positions, in one window."""
    s = Segment()
    x, y = s.buffer([1, 64, 64, 1]), s.buffer([1, 1])
    s.nest(
        [1, 1, 64, 64],
        [(x, [{0: 1}, {2: 1}, {3: 1}, {1: 1}], None, None)],
        (y, [{0: 1}, {1: 1}], None),
        reduce="max",
        reduced=[2, 3],
    )
    return s


def test_what_cannot_fit_names_the_node() -> None:
    s = _maximum()
    small = replace(GEMMINI, scratchpad=replace(GEMMINI.scratchpad, bytes=64))
    with pytest.raises(CapacityError, match="node0"):
        tile(s.module(), small, ("tile-npu",))


def test_windows_larger_than_the_scratchpad_are_split() -> None:
    s = _maximum()
    module, (arena, consts) = s.module(), s.memories()
    expected = run_loops(module, arena, consts)
    small = replace(GEMMINI, scratchpad=replace(GEMMINI.scratchpad, bytes=1024))
    tile(module, small, ("tile-npu",))
    assert "accumulate" in str(module)
    assert (run_loops(module, arena, consts) == expected).all()
    tile(module, small, ("hoist-copies", "double-buffer", "lower-to-npu"))
    assert (run_programs(module, arena, consts) == expected).all()


def test_unknown_bodies_name_the_node() -> None:
    s = Segment()
    x, y = s.buffer([8]), s.buffer([8])
    s.nest(
        [8],
        [(x, [{0: 1}], None, None)],
        (y, [{0: 1}], None),
        accumulator=lambda c: c.apply("abs", [c.block.args[0]]),
    )
    with pytest.raises(CapacityError, match=r"node0.*'abs'"):
        tile(s.module(), GEMMINI, ("tile-npu",))


def test_locations_reach_every_operation() -> None:
    module = _fully_connected(100, 40).module()
    tile(module, GEMMINI, ("tile-npu",))
    for op in module.walk():
        if op.name in ("loop.copy", "loop.nest", "loop.for"):
            assert "node0" in str(op.location), op.name


def test_results_are_read_as_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that are made one by one are read one by one, unless that costs much."""
    s, same = Segment(), rows(0, 1, 2)
    x, y = s.buffer([12, 128, 64]), s.buffer([12, 128, 64])
    nest = s.nest(
        [12, 128, 64],
        [(x, same, None, None)],
        (y, same, None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )
    machine = load_target("auto-200")
    assert machine is not None
    work = keep(analyse(nest, machine).work, frozenset({0, 1}))  # both stay on the chip
    free = machine.scratchpad.bytes
    best = select(work, machine, free)
    assert best is not None and best.tile[0] > 1
    given = piece_by_piece(nest, work, {}, {nest.reads[0]: {0: 1}})
    assert given == {0: 1}
    assert following(work, machine, free, given, best).tile[0] == 1
    # two cores that take tiles in turn make two rows at a time; 5 do not divide 128
    assert piece_by_piece(nest, work, {1: 2}, {nest.reads[0]: {1: 32}}) == {1: 16}
    assert not piece_by_piece(nest, work, {}, {nest.reads[0]: {1: 5}, nest.output: {0: 1}})
    monkeypatch.setattr(tile_npu, "FOLLOWING", 0.5)
    assert following(work, machine, free, given, best) == best
