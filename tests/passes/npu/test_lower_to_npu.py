from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.parser import Parser

from support.npu_passes import LOWERING, run_loops, run_programs, target, tile
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.npu import Command
from tilewright.passes.base import CompilerContext
from tilewright.passes.npu.lowering.emitter import Dim, coalesce
from tilewright.passes.npu.lowering.matrix import blocks, fit_rows


@settings(max_examples=60, deadline=None)
@given(segments(), machines())
def test_lowering_preserves_meaning(segment: Segment, machine: Machine) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, LOWERING)
    assert (run_programs(module, arena, consts) == expected).all()
    commands = [op for op in module.walk() if isinstance(op, Command)]
    assert len(commands) <= 40
    assert all("node0" in str(op.location) for op in commands)


@given(st.integers(1, 300), st.integers(1, 40))
def test_blocks_cover_the_extent_once(extent: int, limit: int) -> None:
    parts = blocks(extent, limit)
    covered = [
        i
        for start, size, count in parts
        for b in range(count)
        for i in range(start + b * size, start + (b + 1) * size)
    ]
    assert covered == list(range(extent))
    assert len(parts) <= 2 and all(size <= limit for _, size, _ in parts)


def test_reduction_dimensions_fill_the_rows_innermost_first() -> None:
    kh, kw, ic = Dim(3, (9,)), Dim(3, (3,)), Dim(4, (1,))
    assert fit_rows([kh, kw, ic], 36) == ([], None, 1, [kh, kw, ic])
    assert fit_rows([kh, kw, ic], 24) == ([], kh, 2, [kw, ic])
    assert fit_rows([kh, kw, ic], 8) == ([kh], kw, 2, [ic])
    assert fit_rows([kh, kw, ic], 3) == ([kh, kw], ic, 3, [])


def test_coalescing_merges_what_is_one_dimension_for_every_operand() -> None:
    assert coalesce([Dim(2, (8, 8)), Dim(1, (5, 5)), Dim(8, (1, 1))]) == [Dim(16, (1, 1))]
    assert len(coalesce([Dim(2, (9, 8)), Dim(8, (1, 1))])) == 2


COMPRESSED = """
func.func @npu_segment_0() {
  %xt = loop.alloc : memref<8x8xi8, "spm">
  %f = loop.alloc : memref<40xi8, "spm">
  %wt = loop.decode %f {axis = AXIS : i64} : memref<40xi8, "spm"> -> memref<8x8xi8, "spm">
  %acc = loop.alloc : memref<8x8xi32, "acc">
  LEAF
  func.return
}
"""
PRODUCT = """loop.nest domain [8, 8, 8] reduce "add" over [2]
  ins(%xt, %wt : memref<8x8xi8, "spm">, memref<8x8xi8, "spm">) outs(%acc : memref<8x8xi32, "acc">)
  maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>,
        affine_map<(m, n, k) -> (m, n)>] body {
  ^bb0(%v: i8, %w: i8):
    %vw = loop.apply "widen"(%v) : (i8) -> i32
    %ww = loop.apply "widen"(%w) : (i8) -> i32
    %p = loop.apply "mul"(%vw, %ww) : (i32, i32) -> i32
    loop.yield %p : i32
  } attributes {tensorize = "matmul"}"""
COPY = """loop.nest domain [8, 8] ins(%wt : memref<8x8xi8, "spm">) outs(%xt : memref<8x8xi8, "spm">)
  maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] body {
  ^bb0(%v: i8):
    loop.yield %v : i8
  } attributes {tensorize = "vclip"}"""


@pytest.mark.parametrize(
    ("axis", "leaf", "message"),
    [
        (1, PRODUCT, "weights that are compressed along axis 1"),
        (0, PRODUCT.replace("(%xt, %wt", "(%wt, %xt"), "has no NPU command"),
        (0, COPY, "has no NPU command"),
    ],
)
def test_only_products_read_compressed_weights(axis: int, leaf: str, message: str) -> None:
    text = COMPRESSED.replace("AXIS", str(axis)).replace("LEAF", leaf)
    module = Parser(CompilerContext(), text).parse_module()
    module.verify()
    with pytest.raises(CapacityError, match=message):
        tile(module, target("auto-200"), ("lower-to-npu",))
