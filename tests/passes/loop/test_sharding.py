"""Shards: which nests can be, that cores hold their own images only, and that bytes are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from support.batches import SAME, batch, convolution, dense, local, look_up, reshape
from support.core_segments import check, compile_and_run, shard_all, with_cores
from support.npu_passes import run_loops, tile
from support.npu_programs import machine
from support.random_chains import LAYERS, Chain, chains, product, rows
from support.random_machines import flat_machines, machines
from support.segments import Row, Segment
from tilewright.backends.targets.machine import Machine, Network
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.loop import (
    AllocOp,
    BroadcastOp,
    NestOp,
    ReshapeOp,
    SubviewOp,
    space_of,
)
from tilewright.dialects.types import element_of, integer, numpy_dtype, shape_of
from tilewright.passes.loop.aliases import whole
from tilewright.passes.loop.cascade import together
from tilewright.passes.loop.cores import SHARDED, core_loops
from tilewright.passes.loop.promotion import Promotion, candidates_of
from tilewright.passes.loop.sharding import shards
from tilewright.passes.loop.tile_npu import npu_segments
from tilewright.passes.loop.tiling.residents import residents_of


def stripes(c: Chain, x: SSAValue) -> None:
    """Two look-ups, for half of the images at a time, as cascade makes them."""
    n, *image = shape_of(x)
    out = c.segment.buffer([n, *image])
    for at in (0, n // 2) if n % 2 == 0 else ():
        begin, half = [at, 0, 0, 0], c.segment.buffer([n // 2, *image])
        for source, low, target, to in ((x, begin, half, None), (half, None, out, begin)):
            c.segment.nest(
                [n // 2, *image],
                [(source, SAME, low, None)],
                (target, SAME, to),
                accumulator=lambda k: k.table(k.block.args[0]),
            )
    if n % 2 == 0:
        c.values.append(out)


ALONE = (*(layer for layer in LAYERS if layer is not product), stripes, stripes)
"""Layers that take images one by one."""


def nests_of(s: Segment | ModuleOp) -> list[NestOp]:
    ops = s.block.ops if isinstance(s, Segment) else s.walk()
    return [op for op in ops if isinstance(op, NestOp)]


def divided(s: Segment, cores: int) -> list[int] | None:
    """The dimensions that `shards` divides."""
    found = shards(nests_of(s), cores)
    return None if found is None else list(found.values())


# --- which nests can be divided ---
@pytest.mark.parametrize(
    ("cores", "dims"), [(2, [0, 0, 0, 0]), (4, [0] * 4), (8, [0] * 4), (3, None), (16, None)]
)
def test_images_of_a_batch(cores: int, dims: list[int] | None) -> None:
    """8 images: the rows of a matrix of their pixels are divided as they are."""
    assert divided(batch(), cores) == dims


def test_rows_are_those_of_the_first_axis_with_more_than_one_element() -> None:
    s = Segment()
    x, y = s.buffer([1, 12, 5, 4]), s.buffer([1, 12, 5, 4])
    look_up(s, x, y)
    dense(s, reshape(s, y, [60, 4]), s.buffer([60, 3]))
    assert divided(s, 4) == [1, 0]
    assert divided(s, 5) is None


def test_windows_reach_beyond_rows_of_pixels() -> None:
    s, shape = Segment(), [1, 8, 8, 4]
    convolution(s, s.buffer(shape), s.buffer(shape))
    assert divided(s, 2) is None


def one(
    source: Sequence[int],
    read: list[Row],
    target: Sequence[int],
    written: list[Row],
    consts: tuple[list[int] | None, list[int] | None] = (None, None),
    domain: Sequence[int] | None = None,
) -> Segment:
    """One nest that reads `source` and writes `target`, over the domain of the latter."""
    s = Segment()
    x, y = s.buffer(source), s.buffer(target)
    s.nest(
        list(target if domain is None else domain),
        [(x, read, consts[0], None)],
        (y, written, consts[1]),
    )
    return s


MATRIX = rows(0, 1)


@pytest.mark.parametrize(
    ("s", "dims"),
    [
        (one([8, 6], MATRIX, [8, 6], MATRIX), [0]),
        (one([6, 8], rows(1, 0), [8, 6], MATRIX), None),  # transposed
        (one([6, 8], MATRIX, [8, 6], rows(1, 0), domain=[6, 8]), None),
        (one([8, 8], rows(1, 0), [8, 8], MATRIX), None),
        (one([8, 8, 3], rows(0, 1, 2), [8, 8, 3], rows(0, 1, 2)), [0]),
        (one([8, 8, 3], rows(0, 0, 2), [8, 8, 3], rows(0, 1, 2)), None),  # a diagonal
        (one([12, 6], MATRIX, [8, 6], MATRIX, ([4, 0], None)), [0]),  # a stripe
        (one([12, 6], MATRIX, [8, 6], MATRIX), [0]),
        (one([8, 6], MATRIX, [12, 6], MATRIX, (None, [4, 0]), [8, 6]), [0]),
        (one([12, 6], MATRIX, [8, 6], MATRIX, ([5, 0], None)), None),  # beyond the last row
        (one([8, 9], MATRIX, [8, 6], MATRIX, ([0, 3], None)), [0]),  # a slice of the columns
        (one([8, 6], MATRIX, [8, 9], MATRIX, (None, [0, 3]), [8, 6]), [0]),
        (one([16, 6], [{0: 2}, {1: 1}], [8, 6], MATRIX), None),  # every other row
        (one([4, 6], MATRIX, [8, 6], [{0: 2, 2: 1}, {1: 1}], domain=[4, 6, 2]), None),  # resized
        (one([1, 6], rows(None, 1), [8, 6], MATRIX), None),  # the same for all rows
        (one([8, 6], [{0: -1}, {1: 1}], [8, 6], MATRIX, ([7, 0], None)), None),  # backwards
        (one([8], rows(0), [8, 1], MATRIX), [0]),
        (one([1], [{}], [1, 1], MATRIX), None),
        (one([], [], [8, 6], MATRIX), None),
        (one([8, 6], MATRIX, [], [], domain=[8, 6]), None),
    ],
)  # fmt: skip
def test_a_core_reads_and_writes_its_own_rows(s: Segment, dims: list[int] | None) -> None:
    assert divided(s, 2) == dims


def test_no_border_in_front_of_the_rows() -> None:
    """A window of 3 along an axis of one element: with its border, that axis would be the rows'."""
    s = Segment()
    x, y, z = (s.buffer([1, 1, 12, 4]) for _ in range(3))
    look_up(s, x, y)
    assert divided(s, 2) == [2]
    window = [{0: 1}, {1: 1, 4: 1}, {2: 1}, {3: 1}]
    s.nest(
        [1, 1, 12, 4, 3], [(y, window, [0, -1, 0, 0], -9)], (z, SAME, None),
        reduce="max", reduced=[4],
    )  # fmt: skip
    assert divided(s, 2) is None


def test_constants_are_the_same_for_all_or_have_an_axis_of_images() -> None:
    s, shape = Segment(), [8, 6]
    for x, read in ((s.weights([6]), rows(1)), (s.weights(shape), MATRIX)):
        s.nest(
            shape,
            [(s.buffer(shape), MATRIX, None, None), (x, read, None, None)],
            (s.buffer(shape), MATRIX, None),
            accumulator=lambda k: k.apply(
                "qmul", list(k.block.args), za=1, zb=2, multiplier=1 << 30, shift=36
            ),
        )
    assert divided(s, 4) == [0, 0]
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = run_loops(module, arena, consts)
    compile_and_run(
        s, module, with_cores(machine(4096, 2048), 4), arena, expected, sharded=True
    )  # fmt: skip


def test_one_nest_that_cannot_keeps_all_from_it() -> None:
    s = batch()
    x = s.buffer([8, 8])
    assert divided(s, 4) is not None
    s.nest([8, 8], [(x, rows(1, 0), None, None)], (s.buffer([8, 8]), MATRIX, None))
    assert divided(s, 4) is None


# --- what becomes of them ---
@st.composite
def batches(draw: st.DrawFn, max_layers: int = 6) -> tuple[Chain, int]:
    """A chain of layers of a batch that so many cores divide evenly, and the cores."""
    cores, images = draw(st.sampled_from([(2, 2), (2, 4), (3, 3), (4, 4), (4, 8), (8, 8)]))
    return draw(chains(max_layers, images, ALONE)), cores


LIMITS = st.sampled_from([0, 60, 4000])
"""All tile loops in hardware, some, or none."""


def check_shards(chain: Chain, target: Machine, max_ops: int, each: bool = True) -> None:
    """Sharded whatever it costs, if it fits at all: the same bytes."""
    assume(shards(nests_of(chain.segment), target.cores) is not None)
    try:
        result = check(chain, target, max_ops=max_ops, each=each, sharded=True)
    except CapacityError:
        assume(False)
    else:
        assert result.cores == target.cores


@settings(max_examples=20, deadline=None)
@given(batches(), flat_machines(), LIMITS)
def test_meaning_is_kept(found: tuple[Chain, int], target: Machine, max_ops: int) -> None:
    chain, cores = found
    check_shards(chain, with_cores(target, cores), max_ops)


def reuse(s: Segment) -> None:
    """Let tensors that only the segment uses lie where dead ones did, as allocate-arena does."""
    nests, places = nests_of(s), list[tuple[int, int, int]]()  # address, bytes, last use
    lives: list[tuple[int, int, AllocOp]] = []
    for op in s.block.ops:
        if isinstance(op, AllocOp) and "local" in op.attributes:
            uses = [i for i, n in enumerate(nests) if op.result in map(whole, n.operands)]
            lives.append((uses[0], uses[-1], op))
    for first, last, op in sorted(lives, key=lambda life: life[0]):
        assert op.offset is not None
        size = prod(shape_of(op.result)) * numpy_dtype(element_of(op.result)).itemsize
        new = (op.offset.value.data, size, last)
        old = next((p for p in places if p[1] >= size and p[2] < first), new)
        places = [p for p in places if p != old] + [(old[0], old[1], last)]
        op.offset = integer(old[0])


@settings(max_examples=10, deadline=None)
@given(batches(5), machines(1024, 4096), LIMITS)
def test_tiny_scratchpads(found: tuple[Chain, int], target: Machine, max_ops: int) -> None:
    """Layers take over each other's memory, also in DRAM, and sums that of their shortcuts."""
    (chain, cores), memory = found, replace(target.scratchpad, banks=1)
    reuse(chain.segment)
    check_shards(chain, with_cores(replace(target, scratchpad=memory), cores), max_ops, each=False)


@settings(max_examples=10, deadline=None)
@given(batches(), machines(2048, 65536), LIMITS)
def test_banks(found: tuple[Chain, int], target: Machine, max_ops: int) -> None:
    chain, cores = found
    check_shards(chain, with_cores(target, cores), max_ops, each=False)


@settings(max_examples=10, deadline=None)
@given(batches(), flat_machines(), LIMITS)
def test_whatever_distribute_chooses(
    found: tuple[Chain, int], target: Machine, max_ops: int
) -> None:
    chain, cores = found
    check(chain, with_cores(target, cores), max_ops=max_ops)


def sharded_segment(
    s: Segment, target: Machine, names: Sequence[str] = ("promote-buffers",)
) -> ModuleOp:
    """A segment as shards, and passes behind that."""
    module = shard_all(s.module(), target)
    tile(module, target, names)
    return module


FOUR = with_cores(machine(1 << 16, 1 << 14), 4)


def on_chip(module: ModuleOp) -> list[AllocOp]:
    """Tensors that stay in the scratchpad."""
    found = [op for op in module.walk() if isinstance(op, AllocOp) and op.offset is not None]
    return [op for op in found if space_of(op.result) == "spm"]


def test_residents_take_their_share_of_the_scratchpad() -> None:
    """Borders of 1 included: 2 of 8 images of 10 x 10 x 16, where convolutions read them."""
    s = batch()
    ops = list(s.block.ops)
    alone, shared = Promotion(ops, FOUR), Promotion(ops, FOUR, (2, 2))
    sizes = [alone.size(c) for c in candidates_of(ops, alone)]
    assert [shared.size(c) for c in candidates_of(ops, shared)] == sizes
    module = sharded_segment(s, FOUR)
    residents, _ = residents_of(npu_segments(module)[0])
    assert sorted(r.size for r in residents) == sorted(size // 4 for size in sizes)
    assert {shape_of(op.result) for op in on_chip(module)} == {(8, 10, 10, 16), (8, 8, 8, 16)}


def test_a_core_holds_its_own_rows() -> None:
    """After tiling: of tensors, of their reshapes and of the boxes that fill borders."""
    module = sharded_segment(batch(), FOUR, ("promote-buffers", "tile-npu"))
    assert {shape_of(op.result) for op in on_chip(module)} == {(2, 10, 10, 16), (2, 8, 8, 16)}
    [matrix] = [op for op in module.walk() if isinstance(op, ReshapeOp)]
    assert shape_of(matrix.result) == (128, 16)
    cores = core_loops(npu_segments(module)[0])
    for op in module.walk():
        if isinstance(op, SubviewOp):
            assert not {loop.iv for loop in cores} & set(op.ivs)
    assert not [op for op in module.walk() if isinstance(op, BroadcastOp)]


def chosen(s: Segment, target: Machine) -> bool:
    """Whether `distribute` makes shards; of all nests or of none."""
    module = s.module()
    tile(module, target, ("distribute",))
    found = {SHARDED in nest.attributes for nest in nests_of(module)}
    assert len(found) == 1
    return found.pop()


def test_shards_where_only_they_fit() -> None:
    """Eight images of 4 KB: together more than a core's 24 KB of scratchpad, two of them 8 KB."""
    target = with_cores(machine(24 << 10, 1 << 14), 4)
    assert chosen(batch(8, 16), target)
    s = batch(8, 16)
    module, (arena, consts) = s.module_with_main(), s.memories()
    [out] = [op for op in s.block.ops if isinstance(op, AllocOp)][-1:]
    assert out.offset is not None
    begin = out.offset.value.data

    def visible(memory: np.ndarray) -> np.ndarray:
        return memory[begin:]

    expected = visible(run_loops(module, arena, consts))
    result = compile_and_run(s, module, target, arena, expected, visible, each=False)
    assert result.traffic.dram_write_bytes == 8 * 16 * 16 * 8  # nothing but the result


def test_few_rows_and_many_weights_are_divided() -> None:
    """Four rows: each core would load all weights for one of them."""
    s = Segment()
    x, y, z = (s.buffer([4, 256]) for _ in range(3))
    dense(s, x, y)
    dense(s, y, z)
    local(y)
    assert divided(s, 4) == [0, 0]
    assert not chosen(s, FOUR)


def test_a_batch_that_does_not_divide_is_not_sharded() -> None:
    assert not chosen(batch(6, 16), with_cores(machine(24 << 10, 1 << 14), 4))


@pytest.mark.parametrize(
    ("images", "cores", "rate", "times"),
    [(8, 4, 64.0, 4), (8, 1, 64.0, 1), (6, 4, 64.0, 1), (8, 4, 0.0, 1)],
)
def test_cascades_count_on_the_scratchpads_of_all_cores(
    images: int, cores: int, rate: float, times: int
) -> None:
    """If they can have a batch together: it divides, and there is a network to run on."""
    target = replace(FOUR, cores=cores, network=Network(rate, 3))
    found = together(list(batch(images).block.ops), target)
    assert found.scratchpad.bytes == times * target.scratchpad.bytes
    assert replace(found, scratchpad=target.scratchpad) == target
