"""split-outputs: products in parts, each read by itself, make the same values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Region, SSAValue

from support.npu_passes import run_loops, target
from support.random_chains import rows
from support.segments import Segment
from tilewright.dialects.loop import AllocOp, NestOp, ReshapeOp
from tilewright.dialects.types import element_of, integer, memref, shape_of, string
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.split_outputs import SplitOutputsPass, read_parts

COLUMNS = 8


def main_of(s: Segment, device: str = "npu") -> ModuleOp:
    """The nests so far as @main, which the pass works on."""
    s.block.add_op(ReturnOp())
    module = ModuleOp([FuncOp("main", ([], []), Region(s.block))])
    for nest in nests(module):
        nest.device = string(device)
    module.verify()
    return module


def nests(module: ModuleOp) -> list[NestOp]:
    return [op for op in module.walk() if isinstance(op, NestOp)]


def divide(module: ModuleOp, cores: int = 4) -> None:
    machine = target("auto-200")
    matrix = replace(machine.matrix, columns=COLUMNS)
    machine = replace(machine, cores=cores, matrix=matrix)
    SplitOutputsPass().apply(CompilerContext(machine=machine), module)
    module.verify()


def product(s: Segment, rows_: int, columns: int, terms: int = 4) -> SSAValue:
    """[rows, columns] of a product with requantisation by column."""
    y = s.buffer([rows_, columns])
    s.nest(
        [rows_, columns, terms],
        [
            (s.buffer([rows_, terms]), rows(0, 2), None, None),
            (s.weights([terms, columns]), rows(2, 1), None, None),
        ],
        (y, rows(0, 1), None),
        reduce="add",
        reduced=[2],
        chain=lambda k: k.requantize(k.block.args[0], [{1: 1}], [columns]),
    )
    return y


def read(s: Segment, x: SSAValue, low: int, count: int) -> SSAValue:
    """A table applied to columns (or heads) [low, low + count) of `x`."""
    shape = [shape_of(x)[0], count, *shape_of(x)[2:]]
    y = s.buffer(shape)
    s.nest(
        shape,
        [(x, rows(*range(len(shape))), [0, low, *[0] * (len(shape) - 2)], None)],
        (y, rows(*range(len(shape))), None),
        accumulator=lambda c: c.table(c.block.args[0]),
    )
    return y


def heads(s: Segment, x: SSAValue, size: int) -> SSAValue:
    """`x` with its columns as heads."""
    m, n = shape_of(x)
    op = ReshapeOp(x, memref([m, n // size, size], element_of(x), "dram"))
    s.block.add_op(op)
    return op.result


def run(module: ModuleOp, arena: np.ndarray, consts: np.ndarray) -> np.ndarray:
    """The arena behind a module; buffers without an address lie behind it."""
    size = arena.size
    for op in module.walk():
        if isinstance(op, AllocOp) and op.offset is None:
            op.offset = integer(size)
            size += -(-prod(shape_of(op.result)) // 64) * 64
    return run_loops(module, np.concatenate([arena, np.zeros(size - arena.size, np.uint8)]), consts)


def check(s: Segment, results: Sequence[SSAValue]) -> int:
    """Divide in a module of `s`: `results` are the same; how many nests there are more."""
    places = [
        (x.owner.offset.value.data, prod(shape_of(x)))
        for x in results
        if isinstance(x.owner, AllocOp) and x.owner.offset is not None
    ]
    assert len(places) == len(results)
    module, (arena, consts) = main_of(s), s.memories()
    before, expected = len(nests(module)), run(module, arena, consts)
    divide(module)
    got = run(module, arena, consts)
    for begin, size in places:
        assert (got[begin : begin + size] == expected[begin : begin + size]).all()
    return len(nests(module)) - before


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_meaning_is_kept(data: st.DataObject) -> None:
    """Readers of any parts, by columns or by heads; parts that overlap stay together."""
    s = Segment(data.draw(st.integers(0, 99)))
    tiles = data.draw(st.integers(1, 4))
    y = product(s, data.draw(st.integers(1, 3)), tiles * COLUMNS)
    views = {size: heads(s, y, size) for size in (2, COLUMNS)} | {1: y}
    results: list[SSAValue] = []
    for _ in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.sampled_from(sorted(views)))
        extent = tiles * COLUMNS // size
        low = data.draw(st.integers(0, extent - 1))
        results.append(read(s, views[size], low, data.draw(st.integers(1, extent - low))))
    check(s, results)


def test_queries_keys_and_values() -> None:
    s = Segment()
    y = heads(s, product(s, 3, 3 * COLUMNS), 4)
    assert check(s, [read(s, y, low, 2) for low in (0, 2, 4)]) == 2


def test_parts_are_those_of_all_shapes() -> None:
    s = Segment()
    y = product(s, 3, 3 * COLUMNS)
    read(s, heads(s, y, 4), 0, 2)
    read(s, y, COLUMNS, COLUMNS)
    read(s, heads(s, y, 2), COLUMNS, 4)
    assert isinstance(y.owner, AllocOp)
    assert read_parts(y.owner, 1) == [(0, 8), (8, 16), (16, 24)]
    assert read_parts(y.owner, 0) == [(0, 3)]


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ([(0, 8), (8, 8)], 1),
        ([(0, 8), (8, 8), (0, 8)], 1),  # two readers of one part
        ([(0, 16)], 0),  # all of it
        ([(0, 9), (9, 7)], 0),  # no whole tiles of columns
        ([(0, 8)], 0),  # the rest is read by nobody: not worth it
        ([(0, 8), (8, 8), (4, 8)], 0),  # one reads of both
    ],
)
def test_what_is_divided(parts: Sequence[tuple[int, int]], more: int) -> None:
    s = Segment()
    y = product(s, 2, 16)
    assert check(s, [read(s, y, low, count) for low, count in parts]) == more


def _two(s: Segment) -> None:
    y = product(s, 2, 16)
    read(s, y, 0, 8)
    read(s, y, 8, 8)


@pytest.mark.parametrize(("cores", "device"), [(1, "npu"), (4, "cpu")])
def test_one_core_and_the_cpu_keep_their_products(cores: int, device: str) -> None:
    s = Segment()
    _two(s)
    module = main_of(s, device)
    divide(module, cores)
    assert len(nests(module)) == 3


def test_it_can_be_switched_off() -> None:
    s = Segment()
    _two(s)
    module = main_of(s)
    machine = replace(target("auto-200"), matrix=replace(target("auto-200").matrix, columns=8))
    SplitOutputsPass(enable=False).apply(CompilerContext(machine=machine), module)
    assert len(nests(module)) == 3


def test_parts_have_no_name_of_a_tensor() -> None:
    """What they make is a part of the tensor of that name."""
    s = Segment()
    _two(s)
    module = main_of(s)
    nests(module)[0].attributes["tensor"] = StringAttr("qkv")
    divide(module)
    assert len(nests(module)) == 4
    assert not any("tensor" in nest.attributes for nest in nests(module))
