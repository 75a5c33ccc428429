"""The loop semantics against the definition of a nest, point by point, and on tile loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import i32, i64
from xdsl.dialects.test import TestOp as Value
from xdsl.ir import Block, SSAValue
from xdsl.parser import Parser

from tilewright.dialects import scalar
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import (
    ApplyOp,
    IndexOp,
    Linear,
    NestOp,
    ScalarConstantOp,
    ScalarYieldOp,
    reduce_identity,
)
from tilewright.dialects.semantics import loop
from tilewright.dialects.semantics.loop import nest as nest_semantics
from tilewright.dialects.semantics.loop.contraction import contract
from tilewright.dialects.semantics.loop.nest import UFUNCS, run_nest
from tilewright.dialects.types import element_of, element_type, numpy_dtype, shape_of, tensor
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.loop.lowering.builder import NestBuilder


def by_definition(nest: NestOp, arrays: dict[SSAValue, Array]) -> Array:
    """The meaning of a nest, one point at a time."""
    out = np.zeros(shape_of(nest.output), numpy_dtype(element_of(nest.output)))
    maps, parallel, reduced = nest.linear_maps, nest.parallel, nest.reduced

    def read(i: int, point: list[int]) -> Any:
        array, at, fill = arrays[nest.reads[i]], maps[i](point), nest.fill_values[i]
        if all(0 <= a < n for a, n in zip(at, array.shape, strict=True)):
            return array[at]
        assert fill is not None
        return np.asarray(fill).astype(array.dtype)

    def scalars(block: Block, args: list[Any], point: list[int]) -> Any:
        values: dict[SSAValue, Any] = dict(zip(block.args, args, strict=True))
        for op in block.ops:
            if isinstance(op, ScalarYieldOp):
                return values[op.args[0]]
            if isinstance(op, IndexOp):
                values[op.result] = np.int64(point[op.dim.value.data])
            elif isinstance(op, ScalarConstantOp):
                values[op.result] = numpy_dtype(op.result.type).type(op.value.value.data)
            else:
                assert isinstance(op, ApplyOp)
                given = [np.asarray(values[a]) for a in op.args]
                values[op.result] = scalar.evaluate(
                    op.fn.data, given, op.param_values, op.result.type
                )[()]

    count = len(nest.ins)
    for outer in itertools.product(*(range(nest.sizes[d]) for d in parallel)):
        point = [0] * len(nest.sizes)
        for d, i in zip(parallel, outer, strict=True):
            point[d] = i
        kind = nest.reduce.data
        acc = None if kind == "none" else reduce_identity(kind, nest.accumulator)
        for inner in itertools.product(*(range(nest.sizes[d]) for d in reduced)):
            for d, i in zip(reduced, inner, strict=True):
                point[d] = i
            value = scalars(nest.body.block, [read(i, point) for i in range(count)], point)
            acc = value if acc is None else UFUNCS[kind](acc, value)
        if nest.epilogue_block is not None:
            late = [read(i, point) for i in range(count, len(nest.reads))]
            acc = scalars(nest.epilogue_block, [acc, *late], point)
        out[maps[-1](point)] = acc
    return out


def array(shape: tuple[int, ...], dtype: Any, seed: int) -> Array:
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)


@st.composite
def nests(draw: st.DrawFn) -> tuple[NestOp, dict[SSAValue, Array]]:
    """A nest of up to four dimensions over one or two integer operands, with padding."""
    domain = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    reduced = draw(st.lists(st.sampled_from(range(len(domain))), unique=True, max_size=2))
    kind = draw(st.sampled_from(["add", "max", "min", "mul"])) if reduced else "none"
    builder = NestBuilder(domain, reduced=sorted(reduced), kind=kind)
    arrays: dict[SSAValue, Array] = {}

    def operand(dims: list[int], dtype: Any) -> SSAValue:
        rank = draw(st.integers(1, 2))
        pick = st.lists(st.sampled_from([0, 1, 1, 2, -1]), min_size=len(dims), max_size=len(dims))
        rows = [dict(zip(dims, draw(pick), strict=True)) for _ in range(rank)]
        map = builder.rows(rows, [draw(st.integers(-2, 3)) for _ in rows])
        shape = tuple(draw(st.integers(1, 6)) for _ in rows)
        value = Value(result_types=[tensor(shape, element_type(dtype))]).results[0]
        arrays[value] = array(shape, dtype, draw(st.integers(0, 99)))
        return builder.read(value, map, draw(st.integers(-5, 5)))

    def wide(value: SSAValue) -> SSAValue:
        return builder.apply("widen", [value], i32, {"zp": 3}) if value.type != i32 else value

    every = list(range(len(domain)))
    value = wide(operand(every, draw(st.sampled_from([np.int8, np.int32]))))
    if draw(st.booleans()):
        other = wide(operand(every, draw(st.sampled_from([np.int8, np.int32]))))
        value = builder.apply(draw(st.sampled_from(["mul", "add"])), [value, other], i32)
    if draw(st.booleans()):
        value = builder.apply("add", [value, builder.cast(builder.index(0), i32)], i32)
    value = builder.reduce(value)
    parallel = [d for d in every if d not in reduced]
    if parallel and draw(st.booleans()):
        value = builder.apply("sub", [value, wide(operand(parallel, np.int32))], i32)
    order = draw(st.permutations(parallel))
    out = builder.rows([{d: 1} for d in order])
    made = builder.finish(value, out, tensor([domain[d] for d in order], i32))
    made.verify()
    return made, arrays


@settings(max_examples=200, deadline=None)
@given(nests(), st.sampled_from([1, 7, 1 << 20]))
def test_nests_follow_the_definition(
    made: tuple[NestOp, dict[SSAValue, Array]], block: int
) -> None:
    nest, arrays = made
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nest_semantics, "BLOCK", block)
        out = np.zeros(shape_of(nest.output), np.int32)
        run_nest(nest, arrays.__getitem__, out)
        np.testing.assert_array_equal(out, by_definition(nest, arrays))


@pytest.mark.parametrize("slab", [1, 100, 1 << 24])
def test_products_in_slabs(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from tilewright.dialects.semantics.loop import contraction

    monkeypatch.setattr(contraction, "SLAB", slab)
    builder = NestBuilder([2, 5, 4, 3, 2], reduced=[3, 4], kind="add")
    x: SSAValue = Value(result_types=[tensor([2, 7, 2], element_type(np.int8))]).results[0]
    w: SSAValue = Value(result_types=[tensor([4, 3, 2], element_type(np.int8))]).results[0]
    a = builder.read(x, builder.rows([{0: 1}, {1: 1, 3: 1}, {4: 1}]))
    b = builder.read(w, builder.rows([{2: 1}, {3: 1}, {4: 1}]))
    terms = [builder.apply("widen", [v], i32) for v in (a, b)]
    value = builder.reduce(builder.apply("mul", terms, i32))
    nest = builder.finish(value, Linear.select([0, 1, 2], 5), tensor([2, 5, 4], i32))
    arrays: dict[SSAValue, Array] = {
        x: array((2, 7, 2), np.int8, 0),
        w: array((4, 3, 2), np.int8, 1),
    }
    out = np.zeros((2, 5, 4), np.int32)
    run_nest(nest, arrays.__getitem__, out)
    np.testing.assert_array_equal(out, by_definition(nest, arrays))


def test_extract_clamps_its_indices() -> None:
    builder = NestBuilder([5])
    table = Value(result_types=[tensor([3], i32)]).results[0]
    at = builder.apply("sub", [builder.index(0), builder.const(1, i64)], i64)
    value = builder.extract(table, [at])
    nest = builder.finish(value, Linear.select([0], 1), tensor([5], i32))
    out = np.zeros(5, np.int32)
    arrays: dict[SSAValue, Array] = {table: np.array([7, 8, 9], np.int32)}
    run_nest(nest, arrays.__getitem__, out)
    assert out.tolist() == [7, 7, 8, 9, 9]


TILED = """
func.func @main(%x: memref<5x6xi8, "dram">, %y: memref<5x4xi32, "dram">) attributes {arg_offsets = array<i64: 0, 64>} {
  %w = loop.alloc {offset = 192 : i64} : memref<6x4xi8, "dram">
  loop.for %m = 0 to 5 step 2 {
    %acc = loop.alloc : memref<2x4xi32, "acc">
    loop.fill %acc with 0 : i64 : memref<2x4xi32, "acc">
    loop.for %k = 0 to 6 step 4 {
      %a = loop.alloc {slots = 2 : i64} : memref<2x4xi8, "spm">
      %b = loop.alloc {slots = 2 : i64} : memref<4x4xi8, "spm">
      loop.copy load %x[%m, %k] at affine_map<(d0, d1) -> (d0, d1)> tile %a fill 0 : i64 : memref<5x6xi8, "dram">, memref<2x4xi8, "spm">
      loop.copy load %w[%k] at affine_map<(d0) -> (d0, 0)> tile %b fill 0 : i64 : memref<6x4xi8, "dram">, memref<4x4xi8, "spm">
      loop.nest domain [2, 4, 4] reduce "add" over [2] accumulate ins(%a, %b : memref<2x4xi8, "spm">, memref<4x4xi8, "spm">) outs(%acc : memref<2x4xi32, "acc">) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>] body {
      ^bb0(%p: i8, %q: i8):
        %0 = loop.apply "widen"(%p) : (i8) -> i32
        %1 = loop.apply "widen"(%q) : (i8) -> i32
        %2 = loop.apply "mul"(%0, %1) : (i32, i32) -> i32
        loop.yield %2 : i32
      }
    }
    loop.copy store %y[%m] at affine_map<(d0) -> (d0, 0)> tile %acc : memref<5x4xi32, "dram">, memref<2x4xi32, "acc">
  }
  func.return
}
"""  # noqa: E501


def test_tile_loops_with_partial_tiles() -> None:
    module = Parser(CompilerContext(), TILED).parse_module()
    module.verify()
    x, w = array((5, 6), np.int8, 0), array((6, 4), np.int8, 1)
    arena = np.zeros(256, np.uint8)
    arena[:30], arena[192:216] = x.reshape(-1).view(np.uint8), w.reshape(-1).view(np.uint8)
    loop.run(main_function(module), arena, np.zeros(0, np.uint8))
    got = arena[64 : 64 + 80].view(np.int32).reshape(5, 4)
    np.testing.assert_array_equal(got, x.astype(np.int32) @ w.astype(np.int32))


STRIDED = """
func.func @main(%x: memref<4x6xi8, "dram">, %y: memref<4x6xi8, "dram">) attributes {arg_offsets = array<i64: 0, 64>} {
  %t = loop.alloc : memref<3x2xi8, "spm">
  loop.copy load %x[] at affine_map<() -> (1, -1)> tile %t fill 9 : i64 perm [1, 0] steps [2, 3] : memref<4x6xi8, "dram">, memref<3x2xi8, "spm">
  loop.copy store %y[] at affine_map<() -> (2, 4)> tile %t perm [1, 0] : memref<4x6xi8, "dram">, memref<3x2xi8, "spm">
  func.return
}
"""  # noqa: E501


def test_copies_permute_step_fill_and_clip() -> None:
    module = Parser(CompilerContext(), STRIDED).parse_module()
    x = array((4, 6), np.int8, 3)
    arena = np.zeros(128, np.uint8)
    arena[:24] = x.reshape(-1).view(np.uint8)
    loop.run(main_function(module), arena, np.zeros(0, np.uint8))
    y = arena[64:88].view(np.int8).reshape(4, 6)
    want = np.zeros((4, 6), np.int8)
    for k0, k1 in itertools.product(range(3), range(2)):  # tile axis 0 is axis 1 of the buffer
        row, column = 1 + 2 * k1, -1 + 3 * k0
        inside = 0 <= row < 4 and 0 <= column < 6
        if 2 + k1 < 4 and 4 + k0 < 6:
            want[2 + k1, 4 + k0] = x[row, column] if inside else 9
    np.testing.assert_array_equal(y, want)


def test_only_products_are_contracted() -> None:
    builder = NestBuilder([3, 4], reduced=[1], kind="add")
    x = Value(result_types=[tensor([3, 4], i32)]).results[0]
    value = builder.reduce(builder.read(x, builder.rows([{0: 1}, {1: 1}])))
    nest = builder.finish(value, Linear.select([0], 2), tensor([3], i32))
    assert contract(nest, [array((3, 4), np.int32, 0)]) is None
