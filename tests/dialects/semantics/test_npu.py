"""The npu interpreter: buffers, slots, overwriting, and errors that name the node."""

from __future__ import annotations

from functools import reduce
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine, parse_program
from tilewright.dialects.errors import SimulationError
from tilewright.dialects.semantics.npu import run
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize

DOUBLE = """
npu.program @p {
  %x = npu.dram 0 : memref<8xi8, "dram">
  %y = npu.dram 8 : memref<8xi8, "dram">
  npu.loop 4 {
    %b = npu.alloc {slots = 2 : i64} : memref<2xi8, "spm">
    %l = npu.load(%x : memref<8xi8, "dram"> at BOX, %b : memref<2xi8, "spm"> at TILE)
      {element = 1 : i64} loc("n")
    %a = npu.vadd(%b : memref<2xi8, "spm"> at TILE, %b : memref<2xi8, "spm"> at TILE,
      %b : memref<2xi8, "spm"> at TILE) {ma = 1 : i64, mb = 1 : i64, multiplier = 2 : i64,
      shift = 1 : i64, lo = -128 : i64, hi = 127 : i64} loc("n")
    %s = npu.store(%y : memref<8xi8, "dram"> at BOX, %b : memref<2xi8, "spm"> at TILE)
      {element = 1 : i64} loc("n")
    npu.yield
  }
}
""".replace(
    "BOX",
    "#npu.tensor_map<extents [8] strides [1] start [0] steps [1] box [2] loops [[2]]>",
).replace("TILE", "#npu.access<0 [] sizes [2] strides [1]>")


@pytest.mark.parametrize("allocated", [False, True])
def test_a_loop_over_tiles(allocated: bool) -> None:
    program = parse_program(DOUBLE)
    if allocated:
        allocate(program, machine())
    arena = np.arange(16, dtype=np.uint8)
    run(program, arena, np.zeros(0, np.uint8))
    assert arena.tolist() == [*range(8), *range(0, 16, 2)]


_CORES = """
npu.program @p {
  %x = npu.dram 0 : memref<8xi8, "dram">
  %y = npu.dram 8 : memref<32xi8, "dram">
  npu.cores 4 {
    %b = npu.alloc : memref<2xi8, "spm">
    %all = npu.alloc : memref<8xi8, "spm">
    %l = npu.load(%x : memref<8xi8, "dram"> at IN, %b : memref<2xi8, "spm"> at TILE)
      {element = 1 : i64} loc("n")
    %s = npu.send(%b : memref<2xi8, "spm"> at TILE, %all : memref<8xi8, "spm"> at MINE)
      wait(%l) all_cores {element = 1 : i64} loc("n")
    %k = npu.store(%y : memref<32xi8, "dram"> at OUT, %all : memref<8xi8, "spm"> at ALL) wait(%s)
      {element = 1 : i64} loc("n")
  }
}
"""
PLACES = {
    "at IN": "at #npu.tensor_map<extents [8] strides [1] start [0] steps [1] box [2] loops [[2]]>",
    "at OUT": "at #npu.tensor_map<extents [32] strides [1] start [0] steps [1] box [8] "
    "loops [[8]]>",
    "at TILE": "at #npu.access<0 [] sizes [2] strides [1]>",
    "at MINE": "at #npu.access<0 [2] sizes [2] strides [1]>",
    "at ALL": "at #npu.access<0 [] sizes [8] strides [1]>",
}
CORES = reduce(lambda text, place: text.replace(*place), PLACES.items(), _CORES)


def test_cores_send_to_all() -> None:
    """Each core loads two bytes, sends them to all, and stores what it has received."""
    arena = np.arange(40, dtype=np.uint8)
    run(parse_program(CORES), arena, np.zeros(0, np.uint8))
    assert arena[8:].tolist() == [*range(8)] * 4


def test_cores_of_a_grid_send_to_all() -> None:
    """Core (row, column) loads two bytes of its quarter of a tensor of 2 x 4 bytes."""
    text = CORES.replace("npu.cores 4", "npu.cores 4 inner 2")
    for old, new in (("[[2]]", "[[4, 2]]"), ("[[8]]", "[[16, 8]]"), ("<0 [2]", "<0 [4, 2]")):
        assert old in text
        text = text.replace(old, new)
    arena = np.arange(40, dtype=np.uint8)
    run(parse_program(text), arena, np.zeros(0, np.uint8))
    assert arena[8:].tolist() == [*range(8)] * 4


@pytest.mark.parametrize(("levels", "heard"), [(1, (0, 2)), (2, (0, 1)), (3, (0, 1, 2, 3))])
def test_cores_send_along_a_level(levels: int, heard: tuple[int, ...]) -> None:
    """Core 0 of 2 x 2 hears of those in its column or in its row."""
    text = CORES.replace("npu.cores 4", "npu.cores 4 inner 2")
    for old, new in (("[[2]]", "[[4, 2]]"), ("[[8]]", "[[16, 8]]"), ("<0 [2]", "<0 [4, 2]")):
        text = text.replace(old, new)
    text = text.replace(
        "all_cores {element = 1 : i64}", f"all_cores {{element = 1 : i64, levels = {levels} : i64}}"
    )
    assert f"levels = {levels}" in text
    arena = np.arange(40, dtype=np.uint8)
    run(parse_program(text), arena, np.zeros(0, np.uint8))
    for core in heard:
        assert arena[8 + 2 * core : 10 + 2 * core].tolist() == [2 * core, 2 * core + 1]


def test_broadcast_is_load_and_send() -> None:
    text = CORES.replace("%b : memref<2xi8", "%all : memref<8xi8", 1)
    text = text.replace("at #npu.access<0 [] sizes [2] strides [1]>)", "at #npu.access<0 [2] sizes"
                        " [2] strides [1]>)", 1)  # fmt: skip
    text = text.replace("{element = 1", "all_cores {broadcast = 1 : i64, element = 1", 1)
    lines = [x for x in text.splitlines() if "npu.send" not in x and "wait(%l)" not in x]
    arena = np.arange(40, dtype=np.uint8)
    code = parse_program("\n".join(lines).replace("wait(%s)", "wait(%l)"))
    run(code, arena, np.zeros(0, np.uint8))
    assert arena[8:].tolist() == [*range(8)] * 4


def test_on_chip_memories_are_per_core() -> None:
    one = {"spm": np.zeros(64, np.uint8), "acc": np.zeros(0, np.uint8)}
    with pytest.raises(ValueError, match="one mapping per core"):
        run(parse_program(CORES), np.zeros(40, np.uint8), np.zeros(0, np.uint8), one)


@given(st.integers(0, 2**32))
def test_tokens_do_not_change_the_meaning(seed: int) -> None:
    program = ProgramMaker(Random(seed)).program()
    allocate(program, machine())
    rng = np.random.default_rng(seed)
    arena, consts = rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)
    before, after = arena.copy(), arena.copy()
    run(program, before, consts)
    synchronize(program)
    run(program, after, consts)
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("npu.dram 8", "npu.dram 12", r"'n' \(npu.store\): bytes \[16, 18\) are outside .* 16"),
        ("access<0", "access<2", r"'n' \(npu.load\): bytes \[2, 4\) are outside a memory"),
        ("shift = 1", "shift = 63", r"'n' \(npu.vadd\): shift = 63 is outside \[1, 62\]"),
    ],
)
def test_errors_name_the_node(old: str, new: str, message: str) -> None:
    text = DOUBLE.replace("{slots = 2 : i64}", "") if old == "access<0" else DOUBLE
    with pytest.raises(SimulationError, match=message):
        run(parse_program(text.replace(old, new)), np.zeros(16, np.uint8), np.zeros(0, np.uint8))
