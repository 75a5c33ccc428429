"""distribute: several cores compute what one does, in every way of dividing the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import SSAValue

from support.core_segments import (
    CORES,
    check,
    compile_and_run,
    cored_machines,
    with_cores,
)
from support.npu_passes import run_loops, target, tile
from support.npu_programs import machine
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.npu.simulator import SimulationResult
from tilewright.backends.targets.machine import Machine, Network
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import AllocOp, ForOp, NestOp
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.cores import core_grid, core_loops, counts, split_of
from tilewright.passes.loop.distribute import (
    DistributePass,
    candidates,
)
from tilewright.passes.loop.tile_npu import npu_segments

MAX_OPS = st.sampled_from([0, 60, 4000])
"""All tile loops in hardware, some, or none."""


@settings(max_examples=30, deadline=None)
@given(chains(), cored_machines(), MAX_OPS)
def test_meaning_is_kept(chain: Chain, machine: Machine, max_ops: int) -> None:
    check(chain, machine, max_ops=max_ops)


@settings(max_examples=40, deadline=None)
@given(chains(), cored_machines(), MAX_OPS, st.booleans(), st.data())
def test_any_split_keeps_the_meaning(
    chain: Chain, machine: Machine, max_ops: int, one_node: bool, data: st.DataObject
) -> None:
    def pick(options: list[Any]) -> Any:
        return data.draw(st.sampled_from(options))

    def block() -> bool:
        return data.draw(st.booleans())

    check(chain, machine, pick=pick, block=block, max_ops=max_ops, one_node=one_node)


@settings(max_examples=30, deadline=None)
@given(chains(8), machines(2048, 4096), st.sampled_from(CORES), MAX_OPS, st.data())
def test_tiny_scratchpads(
    chain: Chain, small: Machine, cores: int, max_ops: int, data: st.DataObject
) -> None:
    """Layers take over each other's memory while other cores lag behind."""

    def pick(options: list[Any]) -> Any:
        return data.draw(st.sampled_from(options))

    def block() -> bool:
        return data.draw(st.booleans())

    flat = with_cores(replace(small, scratchpad=replace(small.scratchpad, banks=1)), cores)
    check(chain, flat, pick=pick, block=block, max_ops=max_ops, each=False)


@pytest.mark.parametrize("cores", CORES)
@settings(max_examples=8, deadline=None)
@given(chain=chains())
def test_meaning_is_kept_on_targets(cores: int, chain: Chain) -> None:
    check(chain, with_cores(target("ethos-u65-512"), cores))


def convolution(
    s: Segment, x: SSAValue, y: SSAValue, kernel: int = 3, stride: int = 1, pad: int = 1
) -> NestOp:
    channels, out = shape_of(x)[3], shape_of(y)
    return s.nest(
        [*out, kernel, kernel, channels],
        [
            (x, [{0: 1}, {1: stride, 4: 1}, {2: stride, 5: 1}, {6: 1}], [0, -pad, -pad, 0], 3),
            (s.weights([kernel, kernel, channels, out[3]]), rows(4, 5, 6, 3), None, None),
        ],
        (y, rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(3, 0),
        chain=lambda k: k.requantize(k.block.args[0], [{3: 1}], [out[3]]),
    )


def run(s: Segment, target: Machine, pick: Any = None, max_ops: int = 4000) -> SimulationResult:
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = run_loops(module, arena, consts)
    return compile_and_run(
        s, module, target, arena, expected, pick=pick, max_ops=max_ops, each=False
    )


def last(options: list[tuple[int, ...]]) -> tuple[int, ...]:
    return options[-1]


def only(split: tuple[int, ...]) -> Callable[[list[tuple[int, ...]]], tuple[int, ...]]:
    """Picks `split`, which must be possible."""
    return lambda options: options[options.index(split)]


def chosen(s: Segment, target: Machine) -> list[tuple[int, ...]]:
    """The splits of a segment's nests."""
    module = s.module()
    tile(module, target, ("distribute",))
    return [split_of(op) for op in module.walk() if isinstance(op, NestOp)]


@pytest.mark.parametrize(
    ("cores", "grid"), [(1, (1,)), (2, (2,)), (3, (3,)), (4, (2, 2)), (6, (3, 2)), (7, (7,)),
                        (8, (4, 2)), (9, (3, 3)), (12, (4, 3))],
)  # fmt: skip
def test_grids_are_as_square_as_they_divide(cores: int, grid: tuple[int, ...]) -> None:
    assert core_grid(cores) == grid


@pytest.mark.parametrize("max_ops", [0, 4000])
@pytest.mark.parametrize("cores", CORES)
def test_what_does_not_divide_is_computed_by_all_and_stored_once(cores: int, max_ops: int) -> None:
    """Beside a layer that divides: 7 x 7 pixels of 17 channels are written to DRAM by one core."""
    s = Segment()
    odd, even = s.buffer([1, 7, 7, 17]), s.buffer([1, 12, 12, 24])
    convolution(s, s.buffer([1, 7, 7, 5]), odd)
    convolution(s, s.buffer([1, 12, 12, 8]), even)
    result = run(s, with_cores(machine(8192, 8192), cores), pick=last, max_ops=max_ops)
    assert result.cores == cores
    assert result.traffic.dram_write_bytes == 7 * 7 * 17 + 12 * 12 * 24


def test_more_cores_take_less_time() -> None:
    """Three layers, the last two on chip; rows, channels or both as the model prefers."""
    cycles: list[int] = []
    for cores in (1, 2, 4):
        s = Segment()
        x, y = s.buffer([1, 16, 16, 32]), s.buffer([1, 16, 16, 64])
        convolution(s, x, y)
        convolution(s, y, s.buffer([1, 8, 8, 64]), stride=2)
        cycles.append(run(s, with_cores(machine(1 << 17, 1 << 15), cores)).cycles)
    assert cycles[1] < 0.75 * cycles[0] and cycles[2] < 0.75 * cycles[1]


def test_rows_or_channels() -> None:
    """Many pixels: rows are divided; few: output channels, which divides the weights."""
    target = with_cores(machine(1 << 17, 1 << 15), 4)
    wide = Segment()
    convolution(wide, wide.buffer([1, 32, 32, 16]), wide.buffer([1, 32, 32, 16]))
    [split] = chosen(wide, target)
    assert split and 3 not in split
    deep = Segment()
    convolution(deep, deep.buffer([1, 1, 1, 256]), deep.buffer([1, 1, 1, 128]), kernel=1, pad=0)
    assert chosen(deep, target) == [(3, 3)]


@pytest.mark.parametrize(
    "alone",
    [
        with_cores(machine(), 1),
        replace(machine(), cores=4),
        replace(machine(), cores=4, network=Network(0.0, 9)),
    ],
)
def test_one_core_or_no_network(alone: Machine) -> None:
    s = Segment()
    convolution(s, s.buffer([1, 8, 8, 16]), s.buffer([1, 8, 8, 16]))
    module = s.module()
    before = str(module)
    tile(module, alone, ("distribute",))
    assert str(module) == before


def test_it_can_be_switched_off() -> None:
    s = Segment()
    convolution(s, s.buffer([1, 8, 8, 16]), s.buffer([1, 8, 8, 16]))
    module = s.module()
    before = str(module)
    ctx = CompilerContext(machine=with_cores(machine(1 << 16, 1 << 14), 4))
    DistributePass(enable=False).apply(ctx, module)
    assert str(module) == before
    DistributePass().apply(ctx, module)
    assert str(module) != before


def test_a_slow_network_is_avoided() -> None:
    """What another nest reads would have to reach every core; results of the segment need not."""
    splits: list[list[tuple[int, ...]]] = []
    for rate in (64.0, 0.25):
        s = Segment()
        x, y, z = (s.buffer([1, 16, 16, 16]) for _ in range(3))
        convolution(s, x, y)
        convolution(s, y, z)
        splits.append(chosen(s, with_cores(machine(1 << 16, 1 << 14), 4, rate)))
    assert all(splits[0])
    assert splits[1][0] == ()


def loops_of(module: ModuleOp) -> list[tuple[int, ...]]:
    return [counts(core_loops(f)) for f in npu_segments(module)]


def test_all_of_a_segment_moves_into_the_cores() -> None:
    s = Segment()
    convolution(s, s.buffer([1, 12, 12, 32]), s.buffer([1, 12, 12, 32]))
    module = s.module()
    names = [op.name for op in npu_segments(module)[0].body.block.ops]
    tile(module, with_cores(machine(1 << 16, 1 << 14), 6), ("distribute",))
    [func] = npu_segments(module)
    assert loops_of(module) == [(3, 2)]
    assert [op.name for op in func.body.block.ops] == ["loop.for", "func.return"]
    inner = core_loops(func)[-1]
    assert [op.name for op in inner.body.block.ops] == names[:-1]


@pytest.mark.parametrize(
    ("shape", "grid", "expected"),
    [
        ([1, 4, 5, 6], (2,), [(1,), (2,), (3,)]),  # 5 padded to 6
        ([1, 4, 5, 6], (3,), [(2,), (3,)]),
        ([1, 4, 3, 6], (2, 2), [(1, 1), (1, 3), (3, 1)]),
        ([1, 4, 3, 6], (3, 2), [(2, 1), (2, 3), (3, 1), (3, 3)]),
        ([1, 4, 3, 7], (2, 2), [(1, 1), (1, 3), (3, 1), (3, 3)]),
        ([3, 5, 7, 9], (2, 2), [(2, 2)]),
        ([2, 4, 1, 1], (2, 2), [(0, 1), (1, 0), (1, 1)]),
    ],
)
def test_candidates_divide(
    shape: Sequence[int], grid: tuple[int, ...], expected: list[tuple[int, ...]]
) -> None:
    s, same = Segment(), rows(0, 1, 2, 3)
    nest = s.nest(shape, [(s.buffer(shape), same, None, None)], (s.buffer(shape), same, None))
    assert candidates(nest, grid) == expected


def test_candidates_are_boxes_of_the_output() -> None:
    """Two dimensions along one axis (resizing) interleave; reductions are not divided."""
    s = Segment()
    out = [{0: 1}, {1: 2, 2: 1}, {3: 2, 4: 1}, {5: 1}]
    nest = s.nest(
        [1, 4, 2, 4, 2, 6],
        [(s.buffer([1, 4, 4, 6]), rows(0, 1, 3, 5), None, None)],
        (s.buffer([1, 8, 8, 6]), out, None),
    )
    assert candidates(nest, (2,)) == [(5,)]
    s = Segment()
    nest = convolution(s, s.buffer([1, 8, 5, 8]), s.buffer([1, 8, 5, 3]), kernel=2, pad=1)
    assert candidates(nest, (2,)) == [(1,)]
    assert prod(nest.sizes) == 8 * 5 * 3 * 4 * 8


@pytest.mark.parametrize("split", [(1, 1), (1, 2), (2, 1), (3, 3)])
def test_padding_at_the_end_only(split: tuple[int, ...]) -> None:
    """The first core's part lies inside the tensor, the last one's does not."""
    s = Segment()
    convolution(s, s.buffer([1, 16, 16, 8]), s.buffer([1, 8, 8, 8]), stride=2, pad=0)
    run(s, with_cores(machine(1 << 14, 1 << 13), 4), only(split))


@pytest.mark.parametrize(("cores", "rows_of_pixels"), [(6, 12), (12, 24)])
@pytest.mark.parametrize("max_ops", [0, 4000])
def test_several_tiles_of_rows_on_a_grid_that_is_not_square(
    cores: int, rows_of_pixels: int, max_ops: int
) -> None:
    """Tile by tile round all cores, both levels along the rows."""
    s = Segment()
    shape = [1, rows_of_pixels, 12, 24]
    convolution(s, s.buffer(shape), s.buffer(shape))
    run(s, with_cores(machine(2048, 1024), cores), only((1, 1)), max_ops)


@pytest.mark.parametrize("max_ops", [0, 4000])
@pytest.mark.parametrize("split", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("cores", [2, 4, 6])
def test_uneven_blocks_of_several_stages(cores: int, split: tuple[int, int], max_ops: int) -> None:
    """Products of 15 x 23 whose chains pass through other values in the place of their result.

    Divided alike and otherwise, results are equal, and no core sees a value on its way.
    """
    s = Segment()
    x, shape = s.buffer([15, 23]), [15, 23]
    inner: list[tuple[int, int]] = []
    for last in (False, False, True):
        begin, y = s.arena_bytes, s.buffer(shape)
        s.nest(
            [15, 23, 23],
            [(x, rows(0, 2), None, None), (s.weights([23, 23]), rows(2, 1), None, None)],
            (y, rows(0, 1), None),
            reduce="add",
            reduced=[2],
            zero_points=(-7, 0),
            chain=lambda k: k.residual(
                k.table(k.requantize(k.block.args[0], [{1: 1}], [23])), shape
            ),
        )
        if not last:
            assert isinstance(y.owner, AllocOp)
            y.owner.attributes["local"] = UnitAttr()
            inner.append((begin, begin + 15 * 23))
        x = y

    def visible(arena: Array) -> Array:
        out = arena.copy()
        for begin, end in inner:
            out[begin:end] = 0
        return out

    splits, grid = iter([split, split, split[::-1]]), core_grid(cores)
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = visible(run_loops(module, arena, consts))
    target = with_cores(machine(4096, 2048), cores)
    result = compile_and_run(
        s, module, target, arena, expected, visible, max_ops=max_ops,
        pick=lambda options: options[options.index(next(splits)[: len(grid)])], block=lambda: True,
    )  # fmt: skip
    rows_only = not any(split[: len(grid)]) and not any(split[::-1][: len(grid)])
    assert bool(result.traffic.network_bytes) is not rows_only


def test_a_segment_without_nests() -> None:
    module = Segment().module()
    DistributePass().apply(CompilerContext(machine=target("auto-200")), module)
    assert not any(isinstance(op, ForOp) for op in module.walk())
