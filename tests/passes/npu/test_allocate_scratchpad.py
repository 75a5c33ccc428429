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


@given(st.integers(0, 2**32), st.sampled_from((1024, 1536, 2048, 4096)))
def test_buffers_alive_together_do_not_overlap(seed: int, capacity: int) -> None:
    program = ProgramMaker(Random(seed)).program()
    try:
        allocate(program, machine(capacity, capacity))
    except CapacityError:
        return
    for a, b in combinations(allocs(program), 2):
        low, high = max(span(a)[0], span(b)[0]), min(span(a)[1], span(b)[1])
        if space_of(a.result) == space_of(b.result) and low < high:
            assert not top_level(a) & top_level(b)
    for a in allocs(program):
        assert span(a)[0] % 16 == 0 and span(a)[1] <= capacity


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
