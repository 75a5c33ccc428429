"""share-loads: every core finds in its tile what it would have loaded itself."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, i8, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue

from support.core_segments import CORES, compile_and_run, split_at_random, with_cores
from support.npu_passes import run_loops, run_programs, tile
from support.npu_programs import machine
from support.random_chains import Chain, chains, rows
from support.random_machines import flat_machines
from support.segments import Segment
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import AllocOp, CopyOp, Linear, ReshapeOp, SubviewOp
from tilewright.dialects.multicast import receivers
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.dialects.types import element_of, memref, numpy_dtype, shape_of
from tilewright.passes.loop.cores import core_grid, core_loops
from tilewright.passes.loop.distribute import enclose
from tilewright.passes.loop.share_loads import LEAST
from tilewright.passes.loop.tile_npu import npu_segments

UNTIL = ("promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer")


def copies(module: ModuleOp) -> list[CopyOp]:
    return [op for op in module.walk() if isinstance(op, CopyOp)]


@settings(max_examples=30, deadline=None)
@given(chains(4), flat_machines(), st.sampled_from(CORES), st.data())
def test_meaning_is_kept(chain: Chain, machine: Machine, cores: int, data: st.DataObject) -> None:
    """On segments of random layers; as many bytes are loaded at most, and stored ones are equal."""

    def pick(options: list[Any]) -> Any:
        return data.draw(st.sampled_from(options))

    def block() -> bool:
        return data.draw(st.booleans())

    target = with_cores(machine, cores)
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    split_at_random(module, target, pick, block)
    tile(module, target, UNTIL)
    before, stores = read(module), [str(c) for c in copies(module) if c.kind.data == "store"]
    tile(module, target, ("share-loads",))
    assert (chain.visible(run_loops(module, arena, consts)) == expected).all()
    assert read(module) <= before
    assert len(stores) == sum(c.kind.data == "store" for c in copies(module))
    for op in copies(module):
        if op.broadcast is not None:
            assert isinstance(op.tile.owner, SubviewOp) and size_of(op.tile) >= LEAST
            assert {loop.iv for loop in core_loops(npu_segments(module)[0])} <= set(op.ivs)
            assert op.levels is not None and receivers(0, core_grid(cores), op.levels)
    tile(module, target, ("lower-to-npu",))
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()


def read(module: ModuleOp) -> int:
    """Bytes of loads that stand at the top level of a core."""
    return sum(size_of(op.tile) for op in copies(module) if op.kind.data == "load")


def size_of(value: SSAValue) -> int:
    return prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_load(data: st.DataObject) -> None:
    """Loads of any rank, order of axes, steps and overhang: shared or not, all cores get all of it.

    What depends on a level of the grid is shared by the cores along the other.  Checked as loops,
    as a program, and by the simulator.
    """

    def pick(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    cores, rank = data.draw(st.sampled_from(CORES)), pick(1, 3)
    element = data.draw(st.sampled_from([i8, i32]))
    extents = [pick(1, 9) * data.draw(st.sampled_from([1, 4, 6, 12])) for _ in range(rank)]
    perm = data.draw(st.permutations(range(rank)))
    steps = [pick(1, 2) for _ in range(rank)]
    start = [pick(-3, 3) for _ in range(rank)]
    box = [pick(1, 4) * data.draw(st.sampled_from([1, 4, 6])) for _ in range(rank)]
    if rank == 1:
        box[0] *= 48
    s = Segment(pick(0, 99))
    x, z = s.buffer(extents, element), s.buffer([cores, prod(box)], element)
    reshaped = data.draw(st.booleans())
    own = AllocOp(memref([prod(box)] if reshaped else box, element, "spm"))
    alias = ReshapeOp(own.result, memref(box if reshaped else [prod(box)], element, "spm"))
    flat = ReshapeOp(own.result, memref([1, prod(box)], element, "spm"))
    target_tile = alias.result if reshaped else own.result
    s.block.add_ops([own, alias, flat])
    module = s.module()
    [func] = module.ops
    assert isinstance(func, FuncOp)
    enclose(func, core_grid(cores))
    loops, grid = core_loops(func), core_grid(cores)
    moving = data.draw(st.lists(st.sampled_from(range(len(loops))), unique=True))
    moves = [{k: pick(0, 3) for k in range(len(moving))} for _ in range(rank)]
    load = CopyOp(
        "load", x, target_tile, [loops[i].iv for i in moving],
        Linear.of(moves, len(moving), start), perm=perm, steps=steps, fill=7,
    )  # fmt: skip
    loops[-1].body.block.insert_op_before(load, flat)
    weights = [prod(len(inner.values) for inner in loops[i + 1 :]) for i in range(len(loops))]
    coords = Linear.of([dict(enumerate(weights)), {}], len(loops), [0, 0])
    loops[-1].body.block.add_op(
        CopyOp("store", z, flat.result, [loop.iv for loop in loops], coords)
    )
    module.verify()
    arena, consts = s.memories()
    expected = run_loops(module, arena, consts)
    item = numpy_dtype(element).itemsize
    sharing = prod(n for i, n in enumerate(grid) if i not in moving)
    fits = [n for n in box if n % sharing == 0]
    shared = sharing > 1 and bool(fits) and prod(box) * item // sharing >= LEAST
    target = with_cores(machine(1 << 17), cores)
    tile(module, target, ("share-loads",))
    levels = [op.levels for op in copies(module) if op.levels is not None]
    assert [len(receivers(0, grid, mask)) for mask in levels] == [sharing - 1] * shared
    assert (run_loops(module, arena, consts) == expected).all()
    tile(module, target, ("lower-to-npu",))
    assert (run_programs(module, arena, consts) == expected).all()
    tile(module, target, ("allocate-scratchpad", "insert-sync"))
    [program] = npu_semantics.programs(module)
    encoded = encode(program)
    result = simulate(encoded.code, target, arena, consts, layers=encoded.layers, check=True)
    assert (arena == expected).all()
    assert bool(result.traffic.network_bytes) == shared


def test_weights_cross_the_pins_once() -> None:
    """Rows are divided: four cores need all weights, and read a quarter each."""
    s = Segment()
    x, y = s.buffer([1, 8, 8, 32]), s.buffer([1, 8, 8, 32])
    s.nest(
        [1, 8, 8, 32, 3, 3, 32],
        [
            (x, [{0: 1}, {1: 1, 4: 1}, {2: 1, 5: 1}, {6: 1}], [0, -1, -1, 0], 3),
            (s.weights([3, 3, 32, 32]), rows(4, 5, 6, 3), None, None),
        ],
        (y, rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(3, 0),
        chain=lambda k: k.requantize(k.block.args[0], [{3: 1}], [32]),
    )
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = run_loops(module, arena, consts)
    target = with_cores(machine(1 << 16, 1 << 14), 4)
    result = compile_and_run(s, module, target, arena, expected, pick=lambda o: o[o.index((1, 1))])
    weights = 3 * 3 * 32 * 32
    assert result.traffic.network_bytes >= 3 * weights
    per_channel, halo = 4 * 3 * 32 * 4, 4 * 4 * 8 * 32
    assert result.traffic.dram_read_bytes <= weights + per_channel + halo


def test_a_segment_without_core_loops_is_left_alone() -> None:
    block = Block()
    big = AllocOp(memref([4096], i8, "dram"), offset=0)
    small = AllocOp(memref([4096], i8, "spm"))
    load = CopyOp("load", big.result, small.result, [], Linear.of([{}], 0))
    block.add_ops([big, small, load, ReturnOp()])
    module = ModuleOp([FuncOp("npu_segment_0", ([], []), Region(block))])
    before = str(module)
    tile(module, with_cores(machine(), 4), ("share-loads",))
    assert str(module) == before
    assert (run_loops(module, np.zeros(4096, np.uint8), np.zeros(1, np.uint8)) == 0).all()


def test_columns_of_weights_are_shared_by_the_cores_of_a_column() -> None:
    """Rows are divided by the rows of the grid, channels by its columns: two cores load a half."""
    s = Segment()
    x, y = s.buffer([64, 32]), s.buffer([64, 64])
    s.nest(
        [64, 64, 32],
        [(x, rows(0, 2), None, None), (s.weights([32, 64]), rows(2, 1), None, None)],
        (y, rows(0, 1), None),
        reduce="add",
        reduced=[2],
        zero_points=(3, 0),
        chain=lambda k: k.requantize(k.block.args[0], [{}], [1]),
    )
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = run_loops(module, arena, consts)
    target = with_cores(machine(1 << 16, 1 << 14), 4)
    result = compile_and_run(
        s, module, target, arena, expected, pick=lambda o: o[o.index((0, 1))], block=lambda: True
    )
    activations, weights, table = 64 * 32, 32 * 64, 4 * 64
    traffic = result.traffic
    assert traffic.network_bytes >= weights  # one receiver each: what it hears it need not read
    assert traffic.network_bytes + traffic.dram_read_bytes <= 2 * (activations + weights) + table
