"""Commands of several stationary tiles: fewer of them, and the same results."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.npu_passes import LOWERING, run_loops, run_programs, target, tile
from support.random_chains import rows
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.cycles import array_tiles, reduction_limit
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import Command
from tilewright.dialects.npu.operands import loop_trips
from tilewright.dialects.semantics import npu as semantics


def tiled(machine: Machine, tiles: int, dataflow: str | None = None) -> Machine:
    """The machine with commands of that many tiles."""
    unit = machine.matrix
    return replace(
        machine, matrix=replace(unit, max_tiles=tiles, dataflow=dataflow or unit.dataflow)
    )


@settings(max_examples=60, deadline=None)
@given(segments(), machines(), st.sampled_from([2, 3, 4, 16, 4096]))
def test_results_are_those_of_single_tiles(segment: Segment, machine: Machine, tiles: int) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected, several = run_loops(module, arena, consts), tiled(machine, tiles)
    one = module.clone()
    tile(module, several, (*LOWERING, "allocate-scratchpad", "insert-sync"))
    tile(one, tiled(machine, 1), LOWERING)
    assert (run_programs(one, arena, consts) == expected).all()
    assert (run_programs(module, arena, consts) == expected).all()
    for program in semantics.programs(module):  # the simulator refuses commands of more tiles
        encoded = encode(program)
        simulate(encoded.code, several, arena, consts, layers=encoded.layers, check=True)
    assert (arena == expected).all()


def _dense(m: int, k: int, n: int) -> Segment:
    s = Segment()
    s.nest(
        [m, n, k],
        [
            (s.buffer([m, k]), rows(0, 2), None, None),
            (s.weights([k, n]), rows(2, 1), None, None),
        ],
        (s.buffer([m, n]), rows(0, 1), None),
        reduce="add",
        reduced=[2],
        chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [n]),
    )
    return s


def _matmuls(tiles: int) -> list[int]:
    """How often each matmul of 1 x 64 x 64 runs on an array of 16 x 16."""
    module = _dense(1, 64, 64).module()
    tile(module, tiled(target("gemmini-16x16"), tiles), LOWERING)
    out: list[int] = []
    for op in module.walk():
        if isinstance(op, Command) and op.instruction.mnemonic == "matmul":
            times = 1
            for trips in loop_trips(op):
                times *= trips
            out.append(times)
    return out


@pytest.mark.parametrize(("tiles", "commands"), [(1, 16), (2, 8), (4, 4), (8, 2)])
def test_commands_take_tiles_down_then_across(tiles: int, commands: int) -> None:
    """4 x 4 tiles of weights: all of a column first, then as many columns as are left."""
    assert sum(_matmuls(tiles)) == commands


def test_output_stationary_reductions_are_of_any_length() -> None:
    unit = tiled(target("gemmini-16x16"), 4, "output-stationary").matrix
    assert reduction_limit(unit) >= 1 << 20 and array_tiles(unit, 1, 1, 1000)[0] == 1


def test_reductions_take_rows() -> None:
    unit = tiled(target("gemmini-16x16"), 4).matrix
    assert reduction_limit(unit) == 64
    assert [array_tiles(unit, 1, 1, k)[0] for k in (1, 16, 17, 64)] == [1, 1, 2, 4]
