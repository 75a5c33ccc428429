"""padding: dimensions that end beyond their tensors change nothing that anybody reads."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import UnitAttr, i8, i32
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from support.npu_passes import run_loops, run_programs, tile
from support.npu_programs import machine
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.cpu.nest import Nest
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import IRError
from tilewright.dialects.loop import AllocOp, CopyOp, FillOp, Linear, NestOp, ReshapeOp, SubviewOp
from tilewright.dialects.types import ints, memref, shape_of
from tilewright.passes.loop.aliases import aliases, twin, whole
from tilewright.passes.loop.padding import MOST, pad, paddable
from tilewright.passes.loop.promotion import candidate

SAME = rows(0, 1)
LOWERING = ("tile-npu", "hoist-copies", "double-buffer", "lower-to-npu")


@settings(max_examples=60, deadline=None)
@given(chains(), machines(2048, 65536), st.sampled_from([2, 3, 4, 6]), st.data())
def test_meaning_is_kept(chain: Chain, target: Machine, cores: int, data: st.DataObject) -> None:
    """Any nests, along any dimensions that allow it, in DRAM and on chip."""
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    tile(module.clone(), target, LOWERING)
    for nest in [op for op in module.walk() if isinstance(op, NestOp)]:
        for d in range(len(nest.sizes)):
            uneven = nest.sizes[d] % cores
            if uneven and paddable(nest, d, cores) and data.draw(st.booleans()):
                pad(nest, d, cores)
    module.verify()
    assert (chain.visible(run_loops(module, arena, consts)) == expected).all()
    for name in ("promote-buffers", *LOWERING[:-1]):
        tile(module, target, (name,))
        assert (chain.visible(run_loops(module, arena, consts)) == expected).all(), name
    tile(module, target, LOWERING[-1:])
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()


def look_up(s: Segment, x: SSAValue, y: SSAValue, first: int = 0) -> NestOp:
    """Into the rows of `y` from `first` on."""
    return s.nest(
        shape_of(x),
        [(x, SAME, None, None)],
        (y, SAME, [first, 0]),
        accumulator=lambda k: k.table(k.block.args[0]),
    )


def test_domains_and_fills() -> None:
    s = Segment()
    nest = look_up(s, s.buffer([15, 16]), s.buffer([15, 16]))
    pad(nest, 0, 4)
    nest.verify()
    assert (nest.sizes, nest.padded_dims, nest.fill_values) == ((16, 16), (0,), (1,))


@given(st.integers(1, 300), st.integers(2, 12))
def test_waste_is_bounded(extent: int, cores: int) -> None:
    s = Segment()
    nest = look_up(s, s.buffer([extent, 2]), s.buffer([extent, 2]))
    assert paddable(nest, 0, cores) is (-(-extent // cores) * cores <= MOST * extent)


@pytest.mark.parametrize(
    ("count", "first", "extent", "whether"),
    [
        (15, 0, 15, True),
        (15, 8, 23, True),  # the last stripe: ends where padding of the whole does
        (15, 7, 22, False),
        (15, 0, 23, False),  # another one: its padding would fall on rows of others
    ],
)
def test_parts_of_a_tensor(count: int, first: int, extent: int, whether: bool) -> None:
    s = Segment()
    nest = look_up(s, s.buffer([count, 16]), s.buffer([extent, 16]), first)
    assert paddable(nest, 0, 4) is whether


def test_some_columns_of_a_tensor() -> None:
    """Whoever writes the others would not write the rows beyond."""
    s = Segment()
    assert not paddable(look_up(s, s.buffer([15, 8]), s.buffer([15, 16])), 0, 4)


def test_windows() -> None:
    """A nest that reads windows; one whose result is read with a border."""
    s = Segment()
    x, y, z = s.buffer([15, 16]), s.buffer([15, 16]), s.buffer([15, 16])
    made = look_up(s, x, y)
    assert paddable(made, 0, 4)
    windows = s.nest(
        [15, 16, 3],
        [(y, [{0: 1, 2: 1}, {1: 1}], [-1, 0], -128)],
        (z, SAME, None),
        reduce="max",
        reduced=[2],
    )
    assert not paddable(windows, 0, 4)
    assert not paddable(made, 0, 4)


@pytest.mark.parametrize(("shape", "whether"), [([15, 4, 4], True), ([240], False)])
def test_reshapes(shape: list[int], whether: bool) -> None:
    """The axis must be one of all shapes of the buffer."""
    s = Segment()
    y = s.buffer([15, 16])
    made = look_up(s, s.buffer([15, 16]), y)
    alias = ReshapeOp(y, memref(shape, i8, "dram"))
    s.block.add_op(alias)
    dims = rows(*range(len(shape)))
    s.nest(shape, [(alias.result, dims, None, None)], (s.buffer(shape), dims, None))
    assert paddable(made, 0, 4) is whether


def test_twins() -> None:
    s = Segment()
    x = s.buffer([2, 15, 16])
    heads = ReshapeOp(x, memref([2, 15, 4, 4], i8, "dram"))
    s.block.add_op(heads)
    assert whole(heads.result) is x and aliases(x) == [x, heads.result]
    assert [twin((2, 15, 16), r, (2, 15, 4, 4)) for r in range(3)] == [0, 1, None]
    assert [twin((1, 15, 1), r, (15, 1)) for r in range(3)] == [None, 0, None]
    assert [twin((1, 15, 1), r, (1, 15, 1)) for r in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("padded", [False, True])
def test_what_nobody_writes_is_filled(padded: bool) -> None:
    """On chip a tensor has rows beyond its end, written by a padded nest or filled once."""
    s = Segment()
    y = s.buffer([15, 16])
    first, second = look_up(s, s.buffer([15, 16]), y), look_up(s, y, s.buffer([15, 16]))
    assert isinstance(y.owner, AllocOp)
    y.owner.attributes["local"] = UnitAttr()
    for nest in (first, second) if padded else (second,):
        pad(nest, 0, 4)
    found = candidate(y.owner, {op: i for i, op in enumerate(s.block.ops)})
    assert found is not None and (found.shape, found.written) == ([16, 16], [int(padded), 0])
    module, (arena, consts) = s.module(), s.memories()
    expected = run_loops(module, arena, consts)
    target = machine(1 << 15, 1 << 12)
    tile(module, target, ("promote-buffers",))
    assert len([op for op in module.walk() if isinstance(op, FillOp)]) == int(not padded)
    tile(module, target, LOWERING)
    got = run_programs(module, arena, consts)
    assert (got[-320:] == expected[-320:]).all()


@pytest.mark.parametrize("shape", [[3, 4], [3, 1], [3]])
def test_some_rows_of_a_32_bit_tensor_are_filled(shape: list[int]) -> None:
    s = Segment()
    y, rest = s.buffer(shape, i32), [2, *shape[1:]]
    tensor = AllocOp(memref(shape, i32, "spm"))
    at = Linear.of([dict[int, int]()] * len(shape), 0, [1, *[0] * (len(shape) - 1)])
    view = SubviewOp(tensor.result, [], at, memref(rest, i32, "spm"))
    start = Linear.of([dict[int, int]()] * len(shape), 0)
    s.block.add_ops(
        [
            tensor,
            FillOp(tensor.result, 7),
            view,
            FillOp(view.result, 9),
            CopyOp("store", y, tensor.result, [], start),
        ]
    )
    module, (arena, consts) = s.module(), s.memories()
    expected = run_loops(module, arena, consts)
    assert expected.view(np.int32)[: prod(shape)].tolist() == [7] * prod(shape[1:]) + [9] * prod(
        rest
    )
    tile(module, machine(1 << 15, 1 << 12), ("lower-to-npu",))
    assert (run_programs(module, arena, consts) == expected).all()


def test_only_padded_dimensions_run_over() -> None:
    s = Segment()
    nest = look_up(s, s.buffer([15, 16]), s.buffer([15, 16]))
    pad(nest, 0, 4)
    nest.padded = ints([1])
    with pytest.raises(VerifyException, match="leaves axis 0 of extent 15"):
        nest.verify()
    nest.padded = ints([0, 2])
    with pytest.raises(VerifyException, match="only parallel dimensions can be padded"):
        nest.verify()


def test_the_cpu_end_says_that_it_cannot() -> None:
    s = Segment()
    nest = look_up(s, s.buffer([15, 16]), s.buffer([15, 16]))
    Nest.of(nest, False)
    pad(nest, 0, 4)
    with pytest.raises(IRError, match="padded"):
        Nest.of(nest, False)


def test_what_lies_beyond_is_dropped() -> None:
    """By the semantics: rows that follow in memory keep their values."""
    s = Segment()
    nest = look_up(s, s.buffer([15, 64]), s.buffer([15, 64]))
    pad(nest, 0, 4)
    module, (arena, consts) = s.module(), s.memories()
    got = run_loops(module, arena, consts)
    changed = np.flatnonzero(got != arena)
    assert changed.min() >= 1024 and changed.max() < 1024 + 15 * 64


def test_parts_of_a_concatenation_are_not_read_beyond() -> None:
    """Behind rows 0 to 14 of 30 lie those of another nest, which may be written later."""
    s = Segment()
    both, made = s.buffer([30, 16]), s.buffer([15, 16])
    last = s.nest([15, 16], [(both, rows(0, 1), [15, 0], None)], (made, rows(0, 1), None))
    first = s.nest(
        [15, 16], [(both, rows(0, 1), None, None)], (s.buffer([15, 16]), rows(0, 1), None)
    )
    assert paddable(last, 0, 4) and not paddable(first, 0, 4)
    table = s.constant(np.zeros([30, 16], np.int8))
    constant = s.nest(
        [15, 16], [(table, rows(0, 1), None, None)], (s.buffer([15, 16]), rows(0, 1), None)
    )
    assert paddable(constant, 0, 4)
