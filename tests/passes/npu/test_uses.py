"""What commands touch: byte ranges of memories, of a command and of a loop as a whole."""

from __future__ import annotations

from support.npu_programs import parse_program
from tilewright.dialects.npu import Command
from tilewright.dialects.npu.isa import Queue
from tilewright.dialects.npu.operands import loop_trips
from tilewright.passes.npu.uses import Use, command_uses, summary

TEXT = """
npu.program @p {
  %x = npu.dram 100 : memref<64xi8, "dram">
  %b = npu.alloc {address = 32 : i64} : memref<64xi8, "spm">
  npu.loop 3 {
    %l = npu.load(%x : memref<64xi8, "dram"> at #npu.tensor_map<extents [64] strides [1] start [0]
      steps [1] box [8] loops [[16]]>, %b : memref<64xi8, "spm"> at
      #npu.access<4 [16] sizes [8] strides [1]>) {element = 1 : i64}
    %v = npu.vclip(%b : memref<64xi8, "spm"> at #npu.access<0 [0] sizes [8] strides [1]>,
      %b : memref<64xi8, "spm"> at #npu.access<0 [0] sizes [8] strides [1]>)
      {lo = 0 : i64, hi = 9 : i64}
    npu.yield
  }
}
"""


def uses() -> list[list[Use]]:
    commands = [op for op in parse_program(TEXT).walk() if isinstance(op, Command)]
    return [command_uses(op, loop_trips(op)) for op in commands]


def test_ranges_cover_all_iterations() -> None:
    load, clip = uses()
    assert [(u.memory, u.low, u.high, u.queue, u.write) for u in load] == [
        ("dram", 100, 140, Queue.LOAD, False), ("spm", 36, 76, Queue.LOAD, True),
    ]  # fmt: skip
    assert [(u.low, u.high, u.write) for u in clip] == [(32, 40, False), (32, 40, True)]
    assert load[0].buffer is None and load[1].buffer is clip[0].buffer
    assert [len(u.boxes) for u in load] == [1, 0]


def test_a_summary_has_each_use_once_with_all_its_boxes() -> None:
    load, clip = uses()
    merged = summary([load, clip, load])
    assert [(u.memory, u.low, u.high, u.write) for u in merged] == [
        (u.memory, u.low, u.high, u.write) for u in (*load, *clip)
    ]
    assert [len(u.boxes) for u in merged] == [2, 0, 0, 0]
    assert len(load[0].boxes) == 1  # what is merged stays as it is
