"""allocate-scratchpad: nothing that lives at the same time overlaps, and meaning is kept."""

from __future__ import annotations

from itertools import combinations, pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine, parse_program
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.loop.structure import space_of
from tilewright.dialects.npu import AllocOp, ProgramOp
from tilewright.dialects.npu.operands import slot_stride
from tilewright.dialects.semantics import npu as semantics
from tilewright.passes.npu.allocate_scratchpad import allocate


def layered(layers: int, size: int, slots: int = 1, name: str = "conv") -> ProgramOp:
    """Layers of one loop that fills one buffer of `size` bytes."""
    whole = f"#npu.access<0 [] sizes [{size}] strides [1]>"
    body = "".join(
        f"""
        npu.loop 2 {{
          %b{i} = npu.alloc {{slots = {slots} : i64}} : memref<{size}xi8, "spm">
          %f{i} = npu.vfill(%b{i} : memref<{size}xi8, "spm"> at {whole}) loc("{name}{i}")
          npu.yield
        }} loc("{name}{i}")"""
        for i in range(layers)
    )
    return parse_program(f"npu.program @p {{ {body} }}")


def allocs(program: ProgramOp) -> list[AllocOp]:
    return [op for op in program.walk() if isinstance(op, AllocOp)]


def span(alloc: AllocOp) -> tuple[int, int]:
    assert alloc.address is not None
    low = alloc.address.value.data
    return low, low + alloc.slots.value.data * slot_stride(alloc)


def slots(alloc: AllocOp) -> list[tuple[int, int]]:
    """Byte range of every slot."""
    low = span(alloc)[0]
    starts = [low + i * slot_stride(alloc) for i in range(alloc.slots.value.data)]
    return [(s, s + alloc.bytes) for s in starts]


def top_level(op: AllocOp) -> set[int]:
    """Indices of the top-level operations between the first and the last use."""
    program = op.parent_op()
    while not isinstance(program, ProgramOp):
        program = program.parent_op()  # pyright: ignore[reportOptionalMemberAccess]
    users = [
        i for i, top in enumerate(program.body.block.ops)
        if any((o is op and top is not op) or op.result in o.operands for o in top.walk())
    ]  # fmt: skip
    return set(range(min(users), max(users) + 1)) if users else set()


@given(
    st.integers(0, 2**32), st.sampled_from((1024, 1536, 2048, 4096)), st.sampled_from((1, 2, 4, 8))
)
def test_buffers_alive_together_do_not_overlap(seed: int, capacity: int, banks: int) -> None:
    program = ProgramMaker(Random(seed)).program()
    try:
        allocate(program, machine(capacity, capacity, banks=banks))
    except CapacityError:
        if banks > 1:  # banks never make it fail
            with pytest.raises(CapacityError):
                allocate(ProgramMaker(Random(seed)).program(), machine(capacity, capacity))
        return
    for a, b in combinations(allocs(program), 2):
        if space_of(a.result) == space_of(b.result) and any(
            max(x[0], y[0]) < min(x[1], y[1]) for x in slots(a) for y in slots(b)
        ):
            assert not top_level(a) & top_level(b)
    for a in allocs(program):
        assert span(a)[0] % 16 == 0 and slots(a)[-1][1] <= capacity


def test_slots_used_at_the_same_time_lie_in_different_banks() -> None:
    tile = "#npu.access<0 [] sizes [1024] strides [1]>"
    rows = "#npu.access<0 [] sizes [64, 16] strides [{}]>"
    part = (
        "#npu.tensor_map<extents [16384] strides [1] start [0] steps [1] box [1024] loops [[1024]]>"
    )
    dram, spm = 'memref<16384xi8, "dram">', 'memref<1024xi8, "spm">'
    weights, acc = 'memref<256xi8, "spm">', 'memref<4096xi8, "acc">'
    program = parse_program(f"""
        npu.program @p {{
          %x = npu.dram 0 : {dram}
          %w = npu.alloc : {weights}
          npu.loop 16 {{
            %a = npu.alloc {{slots = 2 : i64}} : {spm}
            %c = npu.alloc {{slots = 2 : i64}} : {acc}
            %y = npu.alloc {{slots = 2 : i64}} : {spm}
            %l = npu.load(%x : {dram} at {part}, %a : {spm} at {tile}) {{element = 1 : i64}}
            %m = npu.matmul(%a : {spm} at {rows.format("16, 1")},
                            %w : {weights} at #npu.access<0 [] sizes [16, 16] strides [16, 1]>,
                            %c : {acc} at {rows.format("64, 4")}) {{m_rank = 1 : i64}}
            %v = npu.vfill(%y : {spm} at {tile}) {{value = 1 : i64}}
            %s = npu.store(%x : {dram} at {part}, %y : {spm} at {tile}) {{element = 1 : i64}}
            npu.yield
          }}
        }}""")
    allocate(program, machine(16384, 16384, banks=4))
    banks = {a.result.name_hint: {s // 4096 for s, _ in slots(a)} for a in allocs(program)}
    assert all(len(banks[name]) == 2 for name in ("a", "c", "y"))
    assert not banks["a"] & banks["y"]


@given(st.integers(0, 2**32))
def test_meaning_is_kept(seed: int) -> None:
    """With on-chip memory written before it is read: fill every buffer first, then compare."""
    program = ProgramMaker(Random(seed), initialise=True).program()
    rng = np.random.default_rng(seed)
    arena, consts = rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)
    before, after = arena.copy(), arena.copy()
    semantics.run(program, before, consts)
    allocate(program, machine())
    semantics.run(program, after, consts)
    assert np.array_equal(before, after)


def test_consecutive_layers_do_not_overlap_when_there_is_room() -> None:
    program = layered(20, 1024)
    allocate(program, machine(2048))
    spans = [span(a) for a in allocs(program)]
    assert all(a != b for a, b in pairwise(spans))
    assert {s for s, _ in spans} == {0, 1024}


def test_a_layer_that_fills_the_memory_is_packed() -> None:
    program = layered(3, 1024, slots=2)
    allocate(program, machine(2048))
    assert [span(a) for a in allocs(program)] == [(0, 2048)] * 3


def test_what_does_not_fit_names_the_node() -> None:
    with pytest.raises(
        CapacityError, match=r"'conv0'.*2064 bytes do not fit the 2048 bytes of spm"
    ) as error:
        allocate(layered(1, 1025, slots=2), machine(2048, alignment=8))
    assert error.value.hint
