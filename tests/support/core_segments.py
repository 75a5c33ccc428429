"""Segments on several cores: machines, splits at random, and the way down to the simulator.

module = split_at_random(chain, machine, data)     instead of what `distribute` would choose
module = shard_all(chain, machine)                 each core has its own images, whatever it costs
check(chain, machine, ...)                         meaning is kept by every pass of the phase
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, UnitAttr

from support.npu_passes import run_loops, run_programs
from support.random_chains import Chain
from support.random_machines import flat_machines, machines
from support.segments import Segment
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import SimulationResult, simulate
from tilewright.backends.targets.machine import Machine, Network
from tilewright.compiler.pipeline import PHASES
from tilewright.dialects.constants import Array
from tilewright.dialects.errors import CapacityError
from tilewright.dialects.locations import location
from tilewright.dialects.loop import NestOp
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.dialects.types import ints
from tilewright.passes.loop.cores import BLOCKED, SPLIT, core_grid
from tilewright.passes.loop.distribute import assign, assign_shard, candidates, enclose
from tilewright.passes.loop.packing import pack_constants
from tilewright.passes.loop.sharding import shards
from tilewright.passes.loop.tile_npu import npu_segments
from tilewright.passes.loop.tiling.selection import select
from tilewright.passes.loop.tiling.work import analyse
from tilewright.passes.loop.unroll_tiles import UnrollTilesPass
from tilewright.passes.registry import find_pass

CORES = (2, 3, 4, 6)
PASSES = tuple(name for name in PHASES["npu"].split(",") if name != "outline-npu")
"""The whole phase; hand-made segments are outlined already."""

Pass = Callable[[Any, ModuleOp], None]


@st.composite
def cored_machines(draw: st.DrawFn, largest: int = 65536) -> Machine:
    """A small machine of several connected cores; its scratchpad is often one region."""
    banked = draw(st.sampled_from([False, False, True]))
    machine = draw(machines(2048, largest) if banked else flat_machines())
    rate = draw(st.sampled_from([0.5, 8.0, 64.0]))
    return with_cores(machine, draw(st.sampled_from(CORES)), rate)


def with_cores(machine: Machine, cores: int, rate: float = 64.0) -> Machine:
    """`machine` several times, connected by a network of `rate` bytes a cycle."""
    return replace(machine, cores=cores, network=Network(rate, 3))


def split_at_random(
    module: ModuleOp,
    machine: Machine,
    pick: Callable[[list[Any]], Any],
    block: Callable[[], bool] = bool,
) -> ModuleOp:
    """Put segments into core loops, each nest split in one of the ways that are allowed.

    `block`: whether the parts of the next nest are blocks.
    """
    grid = core_grid(machine.cores)
    for func in npu_segments(module):
        for op in func.body.block.ops:
            if not isinstance(op, NestOp):
                continue
            blocked = block()
            if split := pick([(), *fitting(op, machine, grid)]):
                assign(op, split, grid)
                if blocked:
                    op.attributes[BLOCKED] = UnitAttr()
        enclose(func, grid)
    module.verify()
    return module


def shard_all(module: ModuleOp, machine: Machine) -> ModuleOp:
    """Put segments into core loops, of whose nests each core has its own rows where that can be."""
    grid = core_grid(machine.cores)
    for func in npu_segments(module):
        dims = shards([op for op in func.body.block.ops if isinstance(op, NestOp)], machine.cores)
        for nest, dim in ({} if dims is None else dims).items():
            assign_shard(nest, dim, grid)
        enclose(func, grid)
    module.verify()
    return module


def fitting(nest: NestOp, machine: Machine, grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Splits for which there is a tiling."""
    out: list[tuple[int, ...]] = []
    for split in candidates(nest, grid):
        nest.attributes[SPLIT] = ints(split)
        try:
            if select(analyse(nest, machine, grid).work, machine) is not None:
                out.append(split)
        except CapacityError:
            pass
        finally:
            del nest.attributes[SPLIT]
    return out


def consts_of(s: Segment, module: ModuleOp) -> Array:
    """The constants block of @main."""
    return np.frombuffer(pack_constants(module, s.ctx.constants) or b"\0", np.uint8)


def check(
    chain: Chain,
    machine: Machine,
    *,
    pick: Callable[[list[Any]], Any] | None = None,
    block: Callable[[], bool] = bool,
    max_ops: int = 4000,
    each: bool = True,
    one_node: bool = False,
    sharded: bool = False,
) -> SimulationResult:
    """Down to the simulator, which looks for races and reads of what was never written.

    `pick` and `block` split at random in place of `distribute`, `sharded` gives each core its own
    rows.  `each`: compare after each pass.  `one_node`: all nests come from the same ONNX node, as
    those of a softmax do.
    """
    s = chain.segment
    module, (arena, consts) = s.module_with_main(), s.memories()
    for op in module.walk():
        if isinstance(op, NestOp) and one_node:
            op.location = location(["node"])
    expected = chain.visible(run_loops(module, arena, consts))
    return compile_and_run(
        s, module, machine, arena, expected, chain.visible, pick, max_ops, each, block, sharded
    )


def compile_and_run(
    s: Segment,
    module: ModuleOp,
    machine: Machine,
    arena: Array,
    expected: Array,
    visible: Callable[[Array], Array] = lambda a: a,
    pick: Callable[[list[Any]], Any] | None = None,
    max_ops: int = 4000,
    each: bool = True,
    block: Callable[[], bool] = bool,
    sharded: bool = False,
) -> SimulationResult:
    """The phase on `module` (changed in place), then simulation; AssertionError if bytes differ."""
    s.ctx.machine = machine
    for name in PASSES:
        if name == "distribute" and sharded:
            shard_all(module, machine)
        elif name == "distribute" and pick is not None:
            split_at_random(module, machine, pick, block)
        elif name == "unroll-tiles":
            UnrollTilesPass(max_ops=max_ops, growth=1.0).apply(s.ctx, module)
        else:
            find_pass(name)().apply(s.ctx, module)
        module.verify()
        if each:
            run = run_programs if list(npu_semantics.programs(module)) else run_loops
            got = visible(run(module, arena, consts_of(s, module)))
            assert (got == expected).all(), name
    [program] = npu_semantics.programs(module)
    encoded, got = encode(program), arena.copy()
    result = simulate(
        encoded.code, machine, got, consts_of(s, module), layers=encoded.layers, check=True
    )
    assert (visible(got) == expected).all(), "simulator"
    return result
