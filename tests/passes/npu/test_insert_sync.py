"""insert-sync: every interleaving the tokens allow computes what program order computes."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine, parse_program
from support.queue_machine import Memories, races, run_in_order, run_interleaved
from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.program import DecodedProgram, Instruction
from tilewright.dialects.errors import IRError
from tilewright.dialects.npu import Command, ProgramOp, SyncOp
from tilewright.dialects.semantics import npu as semantics
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize

SPM = ACC = 4096


def prepared(seed: int) -> tuple[ProgramOp, DecodedProgram, Memories]:
    program = ProgramMaker(Random(seed)).program()
    allocate(program, machine(SPM, ACC, banks=1 << seed % 4))
    synchronize(program)
    program.verify()
    return program, decode(encode(program).code), Memories.random(seed, ARENA, CONSTS, SPM, ACC)


@given(st.integers(0, 2**32))
def test_interleavings_agree_with_the_dialect(seed: int) -> None:
    program, decoded, start = prepared(seed)
    expected = start.copy()
    semantics.run(
        program, expected.arena, expected.const, {"spm": expected.spm, "acc": expected.acc}
    )
    in_order = start.copy()
    run_in_order(decoded, in_order)
    assert in_order.same(expected)
    for turn in range(4):
        got = start.copy()
        counts = run_interleaved(decoded, got, Random(seed + turn))
        assert counts == list(decoded.semaphores), (
            "semaphores do not return to their initial counts"
        )
        assert got.same(expected)


@given(st.integers(0, 2**32))
def test_no_race(seed: int) -> None:
    _, decoded, memories = prepared(seed)
    assert races(decoded, memories) == []


def test_the_race_test_finds_missing_waits() -> None:
    found = 0
    for seed in range(40):
        _, decoded, memories = prepared(seed)
        bare = DecodedProgram(
            decoded.semaphores, tuple(_without_waits(i) for i in decoded.instructions)
        )
        found += bool(races(bare, memories))
    assert found >= 15


def _without_waits(instruction: Instruction) -> Instruction:
    return dataclasses.replace(instruction, waits=(), signals=())


TILE = "#npu.access<0 [] sizes [64] strides [1]>"
PART = "#npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [64] loops [[64]]>"
DRAM, SPM64 = 'memref<256xi8, "dram">', 'memref<64xi8, "spm">'
PIPELINE = f"""
npu.program @segment_0 {{
  %x = npu.dram 0 : {DRAM}
  %y = npu.dram 256 : {DRAM}
  npu.loop 4 {{
    %a = npu.alloc {{slots = 2 : i64}} : {SPM64}
    %b = npu.alloc {{slots = 3 : i64}} : {SPM64}
    %l = npu.load(%x : {DRAM} at {PART}, %a : {SPM64} at {TILE}) {{element = 1 : i64}}
    %c = npu.vclip(%a : {SPM64} at {TILE}, %b : {SPM64} at {TILE}) {{hi = 9 : i64}}
    %s = npu.store(%y : {DRAM} at {PART}, %b : {SPM64} at {TILE}) {{element = 1 : i64}}
    npu.yield
  }}
}}
"""


def test_a_pipeline_needs_four_semaphores() -> None:
    """One forward and one carried per buffer, nothing else."""
    program = parse_program(PIPELINE)
    allocate(program, machine())
    synchronize(program)
    assert sorted(decode(encode(program).code).semaphores) == [0, 0, 2, 3]
    assert not any(isinstance(op, SyncOp) for op in program.walk())


def test_disjoint_tiles_in_place_are_not_serialised() -> None:
    """Each iteration loads and stores its own part of one tensor: no order between iterations."""
    program = parse_program(PIPELINE.replace("%y = npu.dram 256", "%y = npu.dram 0"))
    allocate(program, machine())
    synchronize(program)
    assert sorted(decode(encode(program).code).semaphores) == [0, 0, 2, 3]


def test_overlapping_tiles_in_place_are_serialised() -> None:
    program = parse_program(PIPELINE.replace("%y = npu.dram 256", "%y = npu.dram 16"))
    allocate(program, machine())
    synchronize(program)
    decoded = decode(encode(program).code)
    assert 1 in decoded.semaphores
    assert races(decoded, Memories.random(0, ARENA, CONSTS, SPM, ACC)) == []


def test_a_program_with_tokens_is_refused() -> None:
    program = parse_program(PIPELINE)
    allocate(program, machine())
    synchronize(program)
    with pytest.raises(IRError, match="without tokens"):
        synchronize(program)


def test_every_command_keeps_its_location() -> None:
    program = ProgramMaker(Random(3)).program()
    before = [op.location for op in program.walk() if isinstance(op, Command)]
    allocate(program, machine())
    synchronize(program)
    assert [op.location for op in program.walk() if isinstance(op, Command)] == before


@pytest.mark.parametrize(
    ("loop", "strides", "serial"),
    [
        (64, [16, 1], False),  # one band after the other
        (16, [64, 1], False),  # columns: the bands of bytes overlap, the bytes do not
        (8, [64, 1], True),  # neighbours share half of their columns
        (-16, [64, 1], False),
        (0, [16, 1], True),
    ],
)
def test_parts_of_a_buffer_outside_the_loop(loop: int, strides: list[int], serial: bool) -> None:
    """A part may be loaded while another is stored, where iterations touch different bytes."""
    part = f"#npu.access<{max(0, -3 * loop)} [{loop}] sizes [4, 16] strides {strides}>"
    box = PART.replace("box [64]", "box [4, 16]").replace("extents [256]", "extents [16, 16]")
    box = box.replace("strides [1]", "strides [16, 1]").replace("loops [[64]]", "loops [[4], []]")
    box = box.replace("start [0]", "start [0, 0]").replace("steps [1]", "steps [1, 1]")
    outside = 'memref<256xi8, "spm">'
    program = parse_program(f"""
npu.program @segment_0 {{
  %x = npu.dram 0 : {DRAM}
  %y = npu.dram 256 : {DRAM}
  %a = npu.alloc {{slots = 1 : i64}} : {outside}
  npu.loop 4 {{
    npu.load(%x : {DRAM} at {box}, %a : {outside} at {part}) {{element = 1 : i64}}
    npu.store(%y : {DRAM} at {box}, %a : {outside} at {part}) {{element = 1 : i64}}
    npu.yield
  }}
}}
""")
    allocate(program, machine())
    synchronize(program)
    decoded = decode(encode(program).code)
    assert (1 in decoded.semaphores) == serial
    assert races(decoded, Memories.random(0, ARENA, CONSTS, SPM, ACC)) == []
