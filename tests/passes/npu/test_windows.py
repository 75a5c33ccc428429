"""Depthwise convolutions and pooling on arrays that take windows: who runs them, and what comes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from support.npu_passes import LOWERING, run_loops, run_programs, target, tile
from support.random_chains import rows
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import Command
from tilewright.dialects.npu.isa import ON_ARRAY
from tilewright.dialects.semantics import npu as semantics


def with_windows(machine: Machine, channels: int) -> Machine:
    """The machine with an array that takes windows of so many channels a cycle."""
    return replace(machine, matrix=replace(machine.matrix, window_channels=channels))


def mnemonics(module: ModuleOp) -> Counter[str]:
    """How many commands of each kind stand in the programs."""
    return Counter(op.instruction.mnemonic for op in module.walk() if isinstance(op, Command))


@settings(max_examples=60, deadline=None)
@given(segments(), machines(), st.sampled_from([1, 3, 16]))
def test_results_are_those_of_the_loops(segment: Segment, machine: Machine, channels: int) -> None:
    """Any nest on any machine; simulated, with its races looked for."""
    module, (arena, consts) = segment.module(), segment.memories()
    expected, able = run_loops(module, arena, consts), with_windows(machine, channels)
    tile(module, able, (*LOWERING, "allocate-scratchpad", "insert-sync"))
    assert not set(mnemonics(module)) & set(ON_ARRAY)
    assert (run_programs(module, arena, consts) == expected).all()
    for program in semantics.programs(module):
        encoded = encode(program)
        simulate(encoded.code, able, arena, consts, layers=encoded.layers, check=True)
    assert (arena == expected).all()


def window(kind: str) -> ModuleOp:
    """3 x 3 windows of a 12 x 12 x 32 tensor: depthwise, averages or maxima."""
    s = Segment()
    x, y = s.buffer([1, 12, 12, 32]), s.buffer([1, 10, 10, 32])
    ins = [(x, [{0: 1}, {1: 1, 4: 1}, {2: 1, 5: 1}, {3: 1}], None, None)]
    if kind == "mmac":
        ins.append((s.weights([3, 3, 32]), rows(4, 5, 3), None, None))
    s.nest(
        [1, 10, 10, 32, 3, 3], ins, (y, rows(0, 1, 2, 3), None),
        reduce="max" if kind == "mmax" else "add", reduced=[4, 5],
        zero_points=(3, 0)[: len(ins)],
        chain=None if kind == "mmax" else (
            lambda c: c.requantize(c.block.args[0], [{3: 1}], [32])
        ),
    )  # fmt: skip
    return s.module()


@pytest.mark.parametrize("kind", list(ON_ARRAY.values()))
def test_windows_run_where_they_can(kind: str) -> None:
    other = next(v for v, m in ON_ARRAY.items() if m == kind)
    for name, wanted in (("ethos-u65-512", kind), ("gemmini-16x16", other)):
        module = window(kind)
        tile(module, target(name), LOWERING)
        found = mnemonics(module)
        assert found[wanted], (name, found)
        assert not (set(found) & ({*ON_ARRAY, *ON_ARRAY.values()} - {wanted}))
