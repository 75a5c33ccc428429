"""Divide the nests of a segment among the cores of the machine.

    func.func @npu_segment_0() {             func.func @npu_segment_0() {
      loop.nest domain [1, 56, 56, 64, ..]     loop.for %row = 0 to 2 step 1 {
      ...                               ->       loop.for %column = 0 to 2 step 1 {
    }                                              loop.nest domain [1, 56, ..] {split = [1, 1]}
                                                   ...

All cores run one program, each on its part of every nest: parallel dimensions are divided over the
rows and the columns of the grid of cores.  Where pixels are divided, all cores need all weights,
which they load together (share-loads); dividing output channels divides the weights.  What a core
makes of a tensor that stays on chip is sent to those that read it (loop.broadcast,
narrow-broadcasts), so that the next nest may be split differently.

Nests without windows have parts that are blocks, so that a core that goes on along the same
dimension finds its input at home.  Parts are equal: where a dimension does not divide evenly, it is
padded (197 rows to 200), if that can be done (`padding`), else not divided.

The splits are those of the least modelled cycles of all nests together, of a core and of transfers
between cores, activations being on chip; where none pays every core computes all of the nest.

Where all nests of a segment can keep to images of a batch, each core may have its own instead, a
shard (`sharding`):

    loop.nest domain [8, 56, 56, 64, ..]     loop.nest domain [8, 56, ..] {split = [0, 0], sharded}
    loop.nest domain [8, 28, 28, 128, ..] -> loop.nest domain [8, 28, ..] {split = [0, 0], sharded}

Then nothing is sent between cores, and a core holds two of the eight images of every tensor, so
that four times as many bytes stay on chip; but each core needs all weights.  Shards are made where
they take fewer modelled cycles, of nests with the tensors that stay on chip then and of transfers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.loop import ForOp, GlobalOp, Linear, NestOp
from ...dialects.types import element_of, ints, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from .aliases import whole
from .cores import BLOCKED, CORES, SHARDED, SPLIT, among, core_counts, core_grid
from .padding import pad, paddable
from .promotion import Promotion, candidates_of
from .sharding import shards
from .tile_npu import npu_segments
from .tiling.bounds import distinct
from .tiling.selection import select
from .tiling.work import Work, analyse, keep

GAIN = 0.9
"""Share of its cycles that a nest is charged that is not divided: dividing must gain the rest."""

SWEEPS = 8
"""How often all nests are looked at for a better split, at most."""


@dataclass(frozen=True)
class DistributePass(Pass):
    """Divide nests among cores by rows, output channels or batch, whichever is cheapest."""

    name = "distribute"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Put every NPU segment into a core loop, if the machine has several connected cores."""
        machine = ctx.machine
        if machine is None or machine.cores < 2 or not self.enable:
            return
        if not machine.network.bytes_per_cycle:
            return
        for func in npu_segments(module):
            nests = [op for op in func.body.block.ops if isinstance(op, NestOp)]
            if any(not shape_of(nest.output) for nest in nests):
                continue
            grid = core_grid(machine.cores)
            chosen = divide(nests, machine, grid)
            if shard(func, chosen, machine, grid):
                enclose(func, grid)
            elif any(chosen.values()):
                blocked = blocks(nests)
                for nest, split in chosen.items():
                    assign(nest, split, grid, nest in blocked)
                enclose(func, grid)


Split = tuple[int, ...]
"""For every core level, the dimension that it divides; empty: every core computes all."""


@dataclass(frozen=True)
class Edge:
    """A tensor from one nest to another: `map` reads it, unless it is reshaped between them."""

    producer: NestOp
    reader: NestOp
    map: Linear | None
    cycles: float

    def exchange(self, divided: Split, reads: Split, blocked: AbstractSet[NestOp]) -> float:
        """Cycles in which cores send each other what they do not have; 0 if they have it."""
        if not divided:
            return 0.0
        if self.map is not None and reads and {self.producer, self.reader} <= blocked:
            made = self.producer.linear_maps[-1]
            if axes(made, divided) == axes(self.map, reads):
                return 0.0
        return self.cycles


def shard(
    func: FuncOp, chosen: Mapping[NestOp, Split], machine: Machine, grid: Sequence[int]
) -> bool:
    """Give each core its own images instead, where that takes fewer modelled cycles."""
    nests = list(chosen)
    dims = shards(nests, prod(grid))
    if not dims:
        return False
    blocked = blocks(nests)
    trials: list[list[NestOp]] = []
    for _ in range(2):
        copy = func.clone()
        trials.append([op for op in copy.body.block.ops if isinstance(op, NestOp)])
    for nest, dim in zip(trials[0], dims.values(), strict=True):
        assign_shard(nest, dim, grid)
    cycles = _segment_cycles(trials[0], machine, grid)
    for nest, split, twin in zip(nests, chosen.values(), trials[1], strict=True):
        assign(twin, split, grid, nest in blocked)
    sent = exchanged(chosen, nests, machine)
    least = sum(_cycles(analyse(nest, machine, grid).work, machine) for nest in trials[1])
    # what divided nests take at least, all activations on chip, is known before which are
    if cycles >= sent + least and cycles >= sent + _segment_cycles(trials[1], machine, grid):
        return False
    for nest, dim in dims.items():
        assign_shard(nest, dim, grid)
    return True


def _segment_cycles(nests: Sequence[NestOp], machine: Machine, grid: Sequence[int]) -> float:
    """Modelled cycles of a segment as its nests are divided, with the tensors that stay on chip.

    A nest takes at least as long as the weights that others load for a core are under way.
    """
    block = nests[0].parent_block()
    assert block is not None
    ops = list(block.ops)
    promotion = Promotion(ops, machine, grid)
    promotion.choose(candidates_of(ops, promotion))
    network = machine.network.bytes_per_cycle
    return sum(
        max(promotion.cycles_of(nest), _held(promotion.work(nest), 2) / network) for nest in nests
    )


def divide(
    nests: Sequence[NestOp], machine: Machine, grid: Sequence[int]
) -> Mapping[NestOp, Split]:
    """The split of each nest."""
    blocked = blocks(nests)
    known: dict[object, dict[Split, float]] = {}
    costs: dict[NestOp, dict[Split, float]] = {}
    for nest in nests:
        info = analyse(nest, machine)
        key = info.work, info.reduction, nest.fill_values, nest in blocked
        if key not in known:
            known[key] = split_cycles(nest, machine, grid, candidates(nest, grid))
        costs[nest] = known[key]
    return choose(costs, edges(nests, machine), blocked)


def exchanged(chosen: Mapping[NestOp, Split], nests: Sequence[NestOp], machine: Machine) -> float:
    """Cycles in which cores send each other parts of all tensors."""
    blocked, most = blocks(nests), dict[NestOp, float]()
    for e in edges(nests, machine):
        cycles = e.exchange(chosen[e.producer], chosen[e.reader], blocked)
        most[e.producer] = max(most.get(e.producer, 0.0), cycles)
    return sum(most.values())


def assign_shard(nest: NestOp, dim: int, grid: Sequence[int]) -> None:
    """Give each core its own block of a dimension, and of all tensors along it."""
    nest.attributes |= {SPLIT: ints([dim] * len(grid)), SHARDED: UnitAttr()}


def assign(nest: NestOp, split: Split, grid: Sequence[int], blocked: bool = False) -> None:
    """Divide `nest` like that, padded where it does not divide evenly."""
    if not split:
        return
    nest.attributes[SPLIT] = ints(split)
    if blocked:
        nest.attributes[BLOCKED] = UnitAttr()
    for d, count in core_counts(nest, grid).items():
        if nest.sizes[d] % count:
            pad(nest, d, prod(grid))


def choose(
    costs: Mapping[NestOp, Mapping[Split, float]],
    edges: Sequence[Edge],
    blocked: AbstractSet[NestOp],
) -> dict[NestOp, Split]:
    """The splits of least cycles in all: from each nest's best, better ones one by one."""
    chosen = {nest: min(of, key=lambda s: of[s]) for nest, of in costs.items()}
    makers: dict[NestOp, dict[NestOp, None]] = {nest: {nest: None} for nest in costs}
    readers: dict[NestOp, list[Edge]] = {nest: [] for nest in costs}
    for edge in edges:
        makers[edge.reader][edge.producer] = None
        readers[edge.producer].append(edge)

    def total(nest: NestOp, split: Split) -> float:
        new = {nest: split}
        return costs[nest][split] + sum(
            max(
                (
                    e.exchange(
                        new.get(maker, chosen[maker]), new.get(e.reader, chosen[e.reader]), blocked
                    )
                    for e in readers[maker]
                ),
                default=0.0,
            )  # what one reader needs others need not be sent again
            for maker in makers[nest]
        )

    for _ in range(SWEEPS):
        changed = False
        for nest, of in costs.items():
            best = min(of, key=lambda s: total(nest, s))
            if total(nest, best) < total(nest, chosen[nest]):
                chosen[nest], changed = best, True
        if not changed:
            break
    return chosen


def edges(nests: Sequence[NestOp], machine: Machine) -> list[Edge]:
    """All tensors that one nest makes and another one reads; of several makers the last."""
    makers: dict[SSAValue, NestOp] = {}
    out: list[Edge] = []
    for nest in nests:
        for map, x in zip(nest.linear_maps, nest.reads, strict=False):
            if (maker := makers.get(whole(x))) is not None:
                size = prod(shape_of(x)) * numpy_dtype(element_of(x)).itemsize
                cycles = size / machine.network.bytes_per_cycle + machine.network.latency
                out.append(Edge(maker, nest, map if x is maker.output else None, cycles))
        makers[whole(nest.output)] = nest
    return out


def axes(map: Linear, split: Split) -> tuple[int | None, ...]:
    """Along which axis of a tensor each core level divides it."""
    return tuple(next((r for r, row in enumerate(map.coeffs) if row[d]), None) for d in split)


def blocks(nests: Sequence[NestOp]) -> set[NestOp]:
    """Nests whose parts are blocks: without windows, as are all that read what they make.

    A nest with windows starts on the first rows that all cores have made, of which its neighbours'
    are a part; others on the first tiles of the cores whose results they read.
    """
    out: set[NestOp] = set()
    waiting: set[SSAValue] = set()  # read by nests that are not blocked
    for nest in reversed(nests):
        windows = any(
            sum(1 for d, a in enumerate(row) if a and nest.sizes[d] > 1) > 1
            for map, x in zip(nest.linear_maps, nest.reads, strict=False)
            if not isinstance(x.owner, GlobalOp)
            for row in map.coeffs
        )
        if windows or whole(nest.output) in waiting:
            waiting |= {whole(x) for x in nest.reads}
        else:
            out.add(nest)
    return out


def enclose(func: FuncOp, grid: Sequence[int]) -> None:
    """Move all of a segment into core loops."""
    block = func.body.block
    inside = [op for op in block.ops if not isinstance(op, ReturnOp)]
    last = block.last_op
    assert last is not None
    loops = [ForOp(0, count, 1) for count in grid]
    for loop, name in zip(loops, ("row", "column"), strict=False):
        loop.iv.name_hint = "core" if len(grid) == 1 else name
        loop.attributes[CORES] = UnitAttr()
    for outer, inner in pairwise(loops):
        outer.body.block.add_op(inner)
    for op in inside:
        op.detach()
        loops[-1].body.block.add_op(op)
    block.insert_op_before(loops[0], last)


def candidates(nest: NestOp, grid: Sequence[int]) -> list[Split]:
    """Splits along parallel dimensions into equal boxes of the output, with padding if need be."""
    alone = [d for d in nest.parallel if _alone(nest.linear_maps[-1], d, nest.sizes)]
    fits = {d: paddable(nest, d, prod(grid)) for d in alone}
    return [
        split
        for split in product(alone, repeat=len(grid))
        if all(fits[d] or not nest.sizes[d] % count for d, count in among(split, grid).items())
    ]


def _alone(output: Linear, dim: int, sizes: tuple[int, ...]) -> bool:
    """Whether `dim` runs along an axis of the output that no other dimension runs along."""
    rows = [row for row in output.coeffs if row[dim]]
    return len(rows) == 1 and not any(
        a and n > 1 for d, (a, n) in enumerate(zip(rows[0], sizes, strict=True)) if d != dim
    )


def split_cycles(
    nest: NestOp, machine: Machine, grid: Sequence[int], splits: Sequence[Split]
) -> dict[Split, float]:
    """Modelled cycles of a nest by split; undivided, `GAIN` of them."""
    out: dict[Split, float] = {(): GAIN * _cycles(analyse(nest, machine).work, machine)}
    for split in splits:
        nest.attributes[SPLIT] = ints(split)
        try:
            work = analyse(nest, machine, grid).work
        except CapacityError:
            continue
        finally:
            del nest.attributes[SPLIT]
        received = _held(work, 2)
        cycles = max(_cycles(work, machine), received / machine.network.bytes_per_cycle)
        out[split] = cycles + _held(work) / (machine.dram.bytes_per_cycle * machine.cores)
    return out


def _held(work: Work, share: int = 1) -> int:
    """Bytes of constants that a core holds: room in which it cannot load those of other nests.

    `share`: only of those that at least so many cores load together.
    """
    return sum(
        int(o.stored(distinct(o.map, work.domain, o.shape)))
        for o in work.reads
        if o.constant and o.share >= share
    )


def _cycles(work: Work, machine: Machine) -> float:
    """Modelled cycles with activations on chip; infinite if no tile fits."""
    kept = {i for i, o in enumerate(work.reads) if not o.constant} | {len(work.reads)}
    tiling = select(keep(work, frozenset(kept)), machine)
    if tiling is None:
        tiling = select(work, machine)
    return float("inf") if tiling is None else tiling.cycles


PASS = DistributePass
