"""What commands touch: byte ranges of memories, of a command and of a loop as a whole."""

from __future__ import annotations

import pytest

from support.npu_programs import parse_program
from tilewright.dialects.npu import Command
from tilewright.dialects.npu.isa import Queue
from tilewright.dialects.npu.operands import loop_trips
from tilewright.passes.npu import uses as uses_module
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


CORED = """
npu.program @p {
  %x = npu.dram 0 : memref<512xi8, "dram">
  npu.cores 4 inner 2 {
    %b = npu.alloc {address = 64 : i64} : memref<256xi8, "spm">
    npu.loop 3 {
      %v = npu.vclip(%b : memref<256xi8, "spm"> at #npu.access<0 [ROW, COLUMN, 8] sizes [8]
        strides [1]>, %b : memref<256xi8, "spm"> at #npu.access<0 [ROW, COLUMN, 8] sizes [8]
        strides [1]>) {lo = 0 : i64, hi = 9 : i64} loc("n")
      npu.yield
    }
    %s = npu.send(%b : memref<256xi8, "spm"> at #npu.access<0 [ROW, COLUMN] sizes [8] strides [1]>,
      %b : memref<256xi8, "spm"> at #npu.access<0 [ROW, COLUMN] sizes [8] strides [1]>)
      {element = 1 : i64} loc("n")
    %k = npu.store(%x : memref<512xi8, "dram"> at #npu.tensor_map<extents [512] strides [1]
      start [0] steps [1] box [8] loops [[64, 32]]>, %b : memref<256xi8, "spm"> at
      #npu.access<0 [] sizes [8] strides [1]>) {element = 1 : i64} loc("n")
  }
}
"""


def cored_uses(row: int, column: int) -> list[list[Use]]:
    """Of four cores, `row` and `column` bytes apart."""
    return uses(CORED.replace("ROW", str(row)).replace("COLUMN", str(column)))


def spans(found: list[Use]) -> list[tuple[int, int]]:
    return [(u.low, u.high) for u in found if u.memory == "spm" and u.write]


def test_parts_of_cores_are_told_apart() -> None:
    """Three iterations 8 bytes apart in each; parts that adjoin or overlap are one."""
    clip, send, _ = cored_uses(128, 64)
    assert spans(clip) == [(64, 88), (128, 152), (192, 216), (256, 280)]
    assert spans(send) == [(64, 72), (128, 136), (192, 200), (256, 264)]
    assert spans(cored_uses(24, 64)[0]) == [(64, 112), (128, 176)]
    assert spans(cored_uses(40, 20)[0]) == [(64, 148)]
    assert spans(cored_uses(0, 0)[0]) == [(64, 88)]


def test_many_cores_are_one_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses_module, "MOST_PARTS", 3)
    assert spans(cored_uses(128, 64)[0]) == [(64, 280)]


def uses(text: str = TEXT) -> list[list[Use]]:
    commands = [op for op in parse_program(text).walk() if isinstance(op, Command)]
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
